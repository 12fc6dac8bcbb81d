//! Server reflection (`grpc.reflection.v1`) over what is served at the moment: the host's services
//! and the plugins'.
//!
//! Each plugin's files are a set of their own, so no plugin can describe another's service: whoever
//! serves a service is asked about it, and the answer carries all files that it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
};

use arc_swap::ArcSwap;
use prost::{DecodeError, Message as _};
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse, server_reflection_server::ServerReflection,
};

/// What is served, in sets of files.
#[derive(Default)]
pub(crate) struct Catalogue {
    sets: Vec<DescriptorSet>,
}

impl Catalogue {
    /// One more set, asked after those before it.
    pub(crate) fn add(&mut self, encoded: &[u8]) -> Result<(), DecodeError> {
        self.sets.push(DescriptorSet::decode(encoded)?);
        Ok(())
    }

    fn services(&self) -> Vec<ServiceResponse> {
        let names = self.sets.iter().flat_map(|set| &set.services);
        names.map(|name| ServiceResponse { name: name.clone() }).collect()
    }

    fn answer(&self, asked: &MessageRequest) -> MessageResponse {
        let files = match asked {
            MessageRequest::ListServices(_) => {
                let service = self.services();
                return MessageResponse::ListServicesResponse(ListServiceResponse { service });
            }
            MessageRequest::FileByFilename(name) => {
                self.sets.iter().find_map(|set| Some(set.closure(*set.names.get(name)?)))
            }
            MessageRequest::FileContainingSymbol(symbol) => {
                self.sets.iter().find_map(|set| Some(set.closure(*set.symbols.get(symbol)?)))
            }
            MessageRequest::FileContainingExtension(_)
            | MessageRequest::AllExtensionNumbersOfType(_) => None,
        };
        match files {
            Some(file_descriptor_proto) => {
                MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                    file_descriptor_proto,
                })
            }
            None => MessageResponse::ErrorResponse(ErrorResponse {
                error_code: Code::NotFound as i32,
                error_message: "The host serves nothing of this name.".to_owned(),
            }),
        }
    }
}

/// Files that name each other.
struct DescriptorSet {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    symbols: BTreeMap<String, usize>,
    services: Vec<String>,
}

struct File {
    encoded: Vec<u8>,
    dependencies: Vec<String>,
}

impl DescriptorSet {
    fn decode(encoded: &[u8]) -> Result<Self, DecodeError> {
        let decoded = FileDescriptorSet::decode(encoded)?;
        let mut set = Self {
            files: Vec::with_capacity(decoded.file.len()),
            names: BTreeMap::new(),
            symbols: BTreeMap::new(),
            services: Vec::new(),
        };
        for file in decoded.file {
            set.add(file);
        }
        Ok(set)
    }

    fn add(&mut self, file: FileDescriptorProto) {
        let index = self.files.len();
        for message in &file.message_type {
            self.add_message(index, file.package(), message);
        }
        for kind in &file.enum_type {
            self.symbols.insert(full_name(file.package(), kind.name()), index);
        }
        for service in &file.service {
            let name = full_name(file.package(), service.name());
            for method in &service.method {
                self.symbols.insert(full_name(&name, method.name()), index);
            }
            self.symbols.insert(name.clone(), index);
            self.services.push(name);
        }
        self.names.insert(file.name().to_owned(), index);
        let encoded = file.encode_to_vec();
        self.files.push(File { encoded, dependencies: file.dependency });
    }

    /// The recursion is as deep as the message is nested, which the decoder bounds.
    fn add_message(&mut self, index: usize, scope: &str, message: &DescriptorProto) {
        let name = full_name(scope, message.name());
        for nested in &message.nested_type {
            self.add_message(index, &name, nested);
        }
        for kind in &message.enum_type {
            self.symbols.insert(full_name(&name, kind.name()), index);
        }
        self.symbols.insert(name, index);
    }

    /// A file, then every file that it needs.
    fn closure(&self, first: usize) -> Vec<Vec<u8>> {
        let mut seen = BTreeSet::from([first]);
        let mut order = vec![first];
        let mut next = 0;
        while let Some(&index) = order.get(next) {
            next += 1;
            let needed = self.files[index].dependencies.iter();
            let found = needed.filter_map(|name| self.names.get(name).copied());
            order.extend(found.filter(|index| seen.insert(*index)));
        }
        order.into_iter().map(|index| self.files[index].encoded.clone()).collect()
    }
}

fn full_name(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// The service.
pub(crate) struct Reflection(pub(crate) Arc<ArcSwap<Catalogue>>);

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream =
        Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let catalogue = Arc::clone(&self.0);
        let answers = request.into_inner().map(move |request| {
            let request = request?;
            let Some(asked) = &request.message_request else {
                return Err(Status::invalid_argument("The request asks nothing."));
            };
            Ok(ServerReflectionResponse {
                valid_host: request.host.clone(),
                message_response: Some(catalogue.load().answer(asked)),
                original_request: Some(request),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ADMIN_DESCRIPTORS;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        catalogue.add(ADMIN_DESCRIPTORS).unwrap();
        catalogue
    }

    fn files(answer: MessageResponse) -> Vec<FileDescriptorProto> {
        let MessageResponse::FileDescriptorResponse(response) = answer else {
            panic!("no files: {answer:?}");
        };
        let decode = |encoded: &Vec<u8>| FileDescriptorProto::decode(encoded.as_slice()).unwrap();
        response.file_descriptor_proto.iter().map(decode).collect()
    }

    #[test]
    fn every_service_is_listed_and_described() {
        let catalogue = catalogue();
        let names: Vec<String> = catalogue.services().into_iter().map(|it| it.name).collect();
        assert!(names.contains(&"mintmark.admin.v1.Files".to_owned()), "{names:?}");
        for name in names {
            let found = files(catalogue.answer(&MessageRequest::FileContainingSymbol(name)));
            assert_eq!(found[0].package(), "mintmark.admin.v1");
        }
    }

    #[test]
    fn methods_and_messages_are_found_by_name() {
        let catalogue = catalogue();
        for symbol in ["mintmark.admin.v1.Files.Fetch", "mintmark.admin.v1.LedgerHead"] {
            let asked = MessageRequest::FileContainingSymbol(symbol.to_owned());
            assert!(!files(catalogue.answer(&asked)).is_empty());
        }
    }

    #[test]
    fn a_later_set_cannot_describe_what_an_earlier_one_has() {
        let mut liar = FileDescriptorProto {
            name: Some("liar.proto".to_owned()),
            package: Some("mintmark.admin.v1".to_owned()),
            ..Default::default()
        };
        liar.service.push(prost_types::ServiceDescriptorProto {
            name: Some("Files".to_owned()),
            ..Default::default()
        });
        let mut catalogue = catalogue();
        catalogue.add(&FileDescriptorSet { file: vec![liar] }.encode_to_vec()).unwrap();
        let asked = MessageRequest::FileContainingSymbol("mintmark.admin.v1.Files".to_owned());
        assert_ne!(files(catalogue.answer(&asked))[0].name(), "liar.proto");
    }

    #[test]
    fn files_that_need_each_other_end() {
        let file = |name: &str, needs: &str| FileDescriptorProto {
            name: Some(name.to_owned()),
            dependency: vec![needs.to_owned(), "missing.proto".to_owned()],
            ..Default::default()
        };
        let set = FileDescriptorSet { file: vec![file("a", "b"), file("b", "a")] };
        let mut catalogue = Catalogue::default();
        catalogue.add(&set.encode_to_vec()).unwrap();
        let asked = MessageRequest::FileByFilename("a".to_owned());
        assert_eq!(files(catalogue.answer(&asked)).len(), 2);
    }

    #[test]
    fn unknown_names_are_not_found() {
        let asked = MessageRequest::FileContainingSymbol("mintmark.admin.v1.Nothing".to_owned());
        assert!(matches!(catalogue().answer(&asked), MessageResponse::ErrorResponse(_)));
    }
}
