//! The people who approve in a world: any two of the three, at every host.

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::approval::{ApprovalRequest, ApprovalStatement};
use mintmark_exchange::canonical::{encode, sha256};
use mintmark_exchange::charter::Approver;
use mintmark_exchange::order::{APPROVAL, SignedOrder, signed_bytes};

/// Their names, in every charter of a world.
pub const APPROVERS: [&str; 3] = ["ada", "ben", "cleo"];

/// How many of them must agree.
pub const QUORUM: u32 = 2;

/// Somebody on a list of approvers, with his key.
pub struct Voter {
    name: String,
    key: SigningKey,
}

impl Voter {
    /// Somebody new.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), key: SigningKey::generate(SignatureAlgorithm::EcdsaP256) }
    }

    /// His name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// His key, for requests and for more statements than [`says`](Self::says) makes.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// He, as a list names him.
    pub fn listed(&self) -> Approver {
        Approver { name: self.name.clone(), key_hash: sha256(self.key.public_key_info()) }
    }

    /// His signed yes or no to a request.
    pub fn says(&self, request: &ApprovalRequest, approve: bool) -> Vec<u8> {
        self.signs(&ApprovalStatement::to(request, approve)).encode()
    }

    /// A statement under his signature.
    pub fn signs(&self, statement: &ApprovalStatement) -> SignedOrder {
        let body = encode(statement);
        let signature = self.key.sign(&signed_bytes(APPROVAL, &body));
        SignedOrder { body, chain: vec![self.key.public_key_info().to_vec()], signature }
    }
}
