//! What is generated from `proto/` compiles, is what `generated/` holds, and dispatches strictly.

use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};

use mintmark_sdk::{Code, Status};
use prost::Message;

mod lots_v1 {
    #![allow(missing_docs, unreachable_pub, reason = "generated from the proto file")]
    include!("generated/acme.lots.v1.rs");
}

mod shapes_v1 {
    #![allow(missing_docs, unreachable_pub, reason = "generated from the proto file")]
    include!("generated/acme.shapes.v1.rs");
}

use lots_v1::{CountRequest, CountResponse, LotsService, OpenRequest, OpenResponse};
use shapes_v1::{CheckRequest, CheckResponse, CheckService, Grade, check_request};

#[derive(Default)]
struct Lots {
    counts: RefCell<BTreeMap<String, u64>>,
}

impl LotsService for Lots {
    fn open(&self, request: OpenRequest) -> Result<OpenResponse, Status> {
        match self.counts.borrow_mut().insert(request.lot, 0) {
            None => Ok(OpenResponse { opened_at_ms: 7 }),
            Some(_) => Err(Status::wrong_state("the lot is open")),
        }
    }

    fn count(&self, request: CountRequest) -> Result<CountResponse, Status> {
        let mut counts = self.counts.borrow_mut();
        let parts = counts.get_mut(&request.lot).ok_or_else(|| Status::not_found("no lot"))?;
        *parts += request.parts;
        Ok(CountResponse { parts: *parts })
    }
}

/// Gives the facts back.
struct Check;

impl CheckService for Check {
    fn check(&self, request: CheckRequest) -> Result<CheckResponse, Status> {
        Ok(CheckResponse { facts: request.facts })
    }
}

fn check(message: &[u8]) -> Result<Vec<u8>, Status> {
    shapes_v1::check_service::dispatch(&Check, "Check", message)
}

/// A request that uses every field.
fn whole_request() -> CheckRequest {
    let part = |mark: &[u8], parts| check_request::Part { mark: mark.to_vec(), parts };
    CheckRequest {
        grade: Grade::B.into(),
        facts: [("a".to_owned(), -1), (String::new(), 0)].into(),
        size: Some(0),
        parts: vec![part(b"x", vec![part(b"y", Vec::new())]), part(b"", Vec::new())],
        grades: vec![Grade::A.into(), Grade::Unspecified.into()],
        weight: 0.5,
        at: Some(check_request::At::Time(1)),
    }
}

#[test]
fn the_generated_code_is_current() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let fresh = tempfile::tempdir().unwrap();
    let protos = ["lots.proto", "shapes.proto"].map(|name| tests.join("proto").join(name));
    mintmark_sdk_build::compile_into(fresh.path(), &protos, &[tests.join("proto")]).unwrap();
    for name in ["acme.lots.v1.rs", "acme.shapes.v1.rs", "descriptors.bin"] {
        let (made, kept) = (fresh.path().join(name), tests.join("generated").join(name));
        if std::env::var_os("MINTMARK_BLESS").is_some() {
            fs::copy(&made, &kept).unwrap();
        }
        let same = fs::read(made).unwrap() == fs::read(kept).unwrap();
        assert!(same, "tests/generated/{name} is old: run this test with MINTMARK_BLESS=1");
    }
}

#[test]
fn a_request_reaches_its_method_and_the_answer_comes_back() {
    let lots = Lots::default();
    let open = OpenRequest { lot: "7".to_owned() }.encode_to_vec();
    let answer = lots_v1::lots::dispatch(&lots, "Open", &open).unwrap();
    assert_eq!(OpenResponse::decode(&*answer).unwrap().opened_at_ms, 7);

    let count = CountRequest { lot: "7".to_owned(), parts: 3 }.encode_to_vec();
    for total in [3, 6] {
        let answer = lots_v1::lots::dispatch(&lots, "Count", &count).unwrap();
        assert_eq!(CountResponse::decode(&*answer).unwrap().parts, total);
    }
    assert_eq!(lots_v1::lots::SERVICE_NAME, "acme.lots.v1.Lots");
    assert_eq!(shapes_v1::check_service::SERVICE_NAME, "acme.shapes.v1.CheckService");
}

#[test]
fn a_refusal_of_the_method_comes_back_as_it_is() {
    let count = CountRequest { lot: "7".to_owned(), parts: 3 }.encode_to_vec();
    let status = lots_v1::lots::dispatch(&Lots::default(), "Count", &count).unwrap_err();
    assert_eq!(status, Status::not_found("no lot"));
}

#[test]
fn g12_an_unknown_method_is_unimplemented() {
    for method in ["", "open", "Open ", "Close"] {
        let status = lots_v1::lots::dispatch(&Lots::default(), method, &[]).unwrap_err();
        assert_eq!(status.code, Code::Unimplemented, "{method}");
    }
}

#[test]
fn what_prost_encodes_is_taken_whole() {
    let request = whole_request();
    let answer = check(&request.encode_to_vec()).unwrap();
    assert_eq!(CheckResponse::decode(&*answer).unwrap().facts, request.facts);
    check(&[]).unwrap();
}

#[test]
fn g12_a_malformed_request_is_invalid() {
    let whole = whole_request().encode_to_vec();
    for message in [&[0xff][..], &[0x08], &[0x0a, 0x05, 0x61], &whole[..whole.len() - 1]] {
        let status = check(message).unwrap_err();
        assert_eq!((status.code, &*status.reason), (Code::InvalidArgument, "INVALID_ARGUMENT"));
    }
    let not_text = [0x2a, 0x01, 0xff];
    assert_eq!(check(&not_text).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn g12_what_the_proto_file_does_not_have_is_refused() {
    let unknown_field = [0x50, 0x01];
    assert!(check(&unknown_field).unwrap_err().message.contains("field 10"));
    let unknown_value = [0x08, 0x02];
    assert!(check(&unknown_value).unwrap_err().message.contains("field 1"));
    let both_of_a_oneof = [0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x2a, 0x00];
    assert!(check(&both_of_a_oneof).unwrap_err().message.contains("field 5"));
}

#[test]
fn the_descriptors_name_the_services() {
    let descriptors = prost_types::FileDescriptorSet::decode(lots_v1::lots::DESCRIPTORS).unwrap();
    let names: Vec<_> = descriptors
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(|service| (file.package(), service.name())))
        .collect();
    assert_eq!(names, [("acme.lots.v1", "Lots"), ("acme.shapes.v1", "CheckService")]);
    assert!(descriptors.file.iter().all(|file| file.source_code_info.is_none()));
}

#[test]
fn an_error_in_a_proto_file_says_where() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("broken.proto"), "syntax = \"proto3\";\nmessage {}\n").unwrap();
    let broken = [directory.path().join("broken.proto")];
    let error = mintmark_sdk_build::compile_into(directory.path(), &broken, &[directory.path()]);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("broken.proto:2:"), "{text}");
}
