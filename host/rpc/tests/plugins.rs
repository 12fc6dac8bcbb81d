//! Plugins over real connections: installed, activated, called, refused.

#![expect(clippy::unwrap_used, reason = "a test says at once what did not hold")]

#[path = "../../runtime/tests/guests/mod.rs"]
mod guests;
mod raw;
mod world;

use bytes::Bytes;
use guests::{Guest, PLAIN};
use mintmark_model::{Reason, Role};
use mintmark_rpc::{
    client::{Code, Connection, Failure},
    proto::admin::{
        ActivateRequest, InspectPluginRequest, InstallRequest, ListPluginsRequest, Plugin,
        ShowStatusRequest, plugins_client::PluginsClient, status_client::StatusClient,
    },
};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use raw::{call, open};
use tonic::Request;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use world::World;

const MANIFEST: &str = "name = 'p'\nversion = '1.0.0'\nsecurity_version = 1\n\
                        contract = '0.1.0'\n[services.'a.S']\nOne = ['admin']\n\
                        Many = ['admin', 'station']\nTake = ['admin']\n";

/// Answers what it is asked; three bytes are refused, with a reason of its own.
const ECHO: &str = r"
    (if (i32.eq (local.get 5) (i32.const 3)) (then
        (i32.store8 (i32.const 512) (i32.const 1))
        (i32.store8 (i32.const 520) (i32.const 8))
        (i32.store (i32.const 524) (i32.const 640))
        (i32.store (i32.const 528) (i32.const 6))
        (i32.store (i32.const 532) (i32.const 648))
        (i32.store (i32.const 536) (i32.const 7)))
    (else
        (i32.store (i32.const 520) (local.get 4))
        (i32.store (i32.const 524) (local.get 5))))
    (i32.const 512)";

fn descriptors() -> Vec<u8> {
    let method = |name: &str, asks_many, answers_many| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".a.M".to_owned()),
        output_type: Some(".a.M".to_owned()),
        client_streaming: Some(asks_many),
        server_streaming: Some(answers_many),
        ..Default::default()
    };
    let methods = [("One", false, false), ("Many", true, true), ("Take", true, false)];
    let file = FileDescriptorProto {
        name: Some("s.proto".to_owned()),
        package: Some("a".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto { name: Some("M".to_owned()), ..Default::default() }],
        service: vec![ServiceDescriptorProto {
            name: Some("S".to_owned()),
            method: methods.map(|(name, asks, answers)| method(name, asks, answers)).into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

fn component() -> Vec<u8> {
    let descriptors = descriptors();
    let guest = Guest {
        call: ECHO,
        fields: r#"(data (i32.const 640) "MELTED  too\0ahot")"#,
        manifest: MANIFEST,
        descriptors: &descriptors,
        ..PLAIN
    };
    guest.binary()
}

async fn install(connection: &Connection) -> Plugin {
    let mut plugins = PluginsClient::new(connection.channel());
    let component = component();
    let chunks: Vec<InstallRequest> = component
        .chunks(1_000)
        .map(|chunk| InstallRequest { chunk: Bytes::copy_from_slice(chunk) })
        .collect();
    let installed = plugins.install(tokio_stream::iter(chunks)).await.map_err(Failure::from);
    installed.unwrap().into_inner().plugin.unwrap()
}

async fn activate(connection: &Connection) -> Plugin {
    let mut plugins = PluginsClient::new(connection.channel());
    let request = ActivateRequest { name: "p".to_owned(), version: "1.0.0".to_owned() };
    let activated = plugins.activate(request).await.map_err(Failure::from);
    activated.unwrap().into_inner().plugin.unwrap()
}

/// A world with the plugin active, and its admin's connection.
async fn serving() -> (World, Connection) {
    let world = World::start().await;
    let admin = world.as_admin().await;
    install(&admin).await;
    activate(&admin).await;
    (world, admin)
}

fn message(text: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn a_plugin_answers_once_it_is_activated() {
    let world = World::start().await;
    let admin = world.as_admin().await;
    let installed = install(&admin).await;
    assert!(!installed.active);
    let early = call(&admin, "/a.S/One", message("hello")).await.unwrap_err();
    assert_eq!(early.code, Code::Unimplemented);

    let activated = activate(&admin).await;
    assert!(activated.active);
    assert_eq!(activated.measurement, installed.measurement);
    assert_eq!(call(&admin, "/a.S/One", message("hello")).await.unwrap(), "hello");
    let unknown = call(&admin, "/a.S/Two", message("hello")).await.unwrap_err();
    assert_eq!(unknown.code, Code::Unimplemented);
}

#[tokio::test]
async fn a_repeated_install_and_activation_change_nothing() {
    let (_world, admin) = serving().await;
    let again = install(&admin).await;
    assert!(again.active);
    assert_eq!(activate(&admin).await, again);
    let mut plugins = PluginsClient::new(admin.channel());
    let listed = plugins.list_plugins(ListPluginsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.plugins, [again]);
}

#[tokio::test]
async fn an_installed_plugin_can_be_looked_into() {
    let (_world, admin) = serving().await;
    let mut plugins = PluginsClient::new(admin.channel());
    let measurement = install(&admin).await.measurement;
    let shown = plugins.inspect_plugin(InspectPluginRequest { measurement }).await.unwrap();
    let shown = shown.into_inner();
    let roles = |path: &str| {
        let method = shown.methods.iter().find(|method| method.path == path);
        method.map(|method| method.roles.clone()).unwrap()
    };
    assert_eq!(roles("/a.S/One"), ["admin"]);
    assert_eq!(roles("/a.S/Many"), ["admin", "station"]);
    assert!(!shown.reads_ledger && shown.slots.is_empty() && shown.transfers.is_empty());
}

#[tokio::test]
async fn g8_a_role_that_the_manifest_does_not_name_is_refused_before_the_plugin_runs() {
    let (world, _admin) = serving().await;
    let station = world.hire(Role::Station, "tester").await.unwrap();
    let connection = world.connect(&station).await.unwrap();
    // Three bytes: the plugin would say `MELTED`.
    let refused = call(&connection, "/a.S/One", message("abc")).await.unwrap_err();
    assert!(refused.is(Reason::PermissionDenied), "{refused}");
    assert_eq!(call(&connection, "/a.S/Many", message("hello")).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_plugins_own_refusal_arrives_escaped() {
    let (_world, admin) = serving().await;
    let refused = call(&admin, "/a.S/One", message("abc")).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert_eq!(refused.reason.as_deref(), Some("MELTED"));
    assert_eq!(refused.message, "too\\u{a}hot");
}

#[tokio::test]
async fn a_stream_is_answered_in_order_until_a_message_is_refused() {
    let (_world, admin) = serving().await;
    let sent = ["a", "", "bb", "abc", "never"].map(Bytes::from);
    let request = Request::new(tokio_stream::iter(sent));
    let mut answers = open(&admin, "/a.S/Many", request).await.unwrap();
    for expected in ["a", "", "bb"] {
        assert_eq!(answers.message().await.unwrap().unwrap(), expected);
    }
    let refused = Failure::from(answers.message().await.unwrap_err());
    assert_eq!(refused.reason.as_deref(), Some("MELTED"));
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_method_that_answers_once_answers_to_the_last_message() {
    let (_world, admin) = serving().await;
    let request = Request::new(tokio_stream::iter(["a", "bb"].map(Bytes::from)));
    let mut answers = open(&admin, "/a.S/Take", request).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "bb");
    assert!(answers.message().await.unwrap().is_none());
    let nothing = Request::new(tokio_stream::empty());
    let mut answers = open(&admin, "/a.S/Take", nothing).await.unwrap();
    let refused = Failure::from(answers.message().await.unwrap_err());
    assert!(refused.is(Reason::InvalidArgument), "{refused}");
}

#[tokio::test]
async fn a_unary_method_takes_no_message_less_and_no_message_more() {
    let (_world, admin) = serving().await;
    for sent in [vec![], vec![Bytes::from("a"), Bytes::from("b")]] {
        let request = Request::new(tokio_stream::iter(sent));
        let refused = open(&admin, "/a.S/One", request).await.unwrap_err();
        assert!(refused.is(Reason::InvalidArgument), "{refused}");
    }
}

#[tokio::test]
async fn status_health_and_reflection_know_the_plugin() {
    let (_world, admin) = serving().await;
    let mut status = StatusClient::new(admin.channel());
    let shown = status.show_status(ShowStatusRequest {}).await.unwrap().into_inner();
    let [plugin] = &shown.plugins[..] else { panic!("one plugin: {:?}", shown.plugins) };
    assert_eq!((plugin.name.as_str(), plugin.problem.as_str()), ("p", ""));
    assert_eq!(plugin.services, ["a.S"]);

    let mut health = HealthClient::new(admin.channel());
    let request = HealthCheckRequest { service: "a.S".to_owned() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);

    let mut reflection = ServerReflectionClient::new(admin.channel());
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("a.S".to_owned())),
    };
    let answers = reflection.server_reflection_info(tokio_stream::once(asked)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::FileDescriptorResponse(files)) = answer else {
        panic!("no file: {answer:?}");
    };
    let file = FileDescriptorProto::decode(&files.file_descriptor_proto[0][..]).unwrap();
    assert_eq!(file.service[0].name(), "S");
}
