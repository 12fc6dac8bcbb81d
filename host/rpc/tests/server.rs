//! The server, over real connections: who gets in, what is refused, what is answered.

#![expect(clippy::unwrap_used, reason = "a test says at once what did not hold")]

mod raw;
mod world;

use bytes::Bytes;
use mintmark_model::{Reason, Role};
use mintmark_rpc::{
    client::{Code, Failure, files},
    limits,
    proto::admin::{
        FetchRequest, InspectPluginRequest, InstallRequest, ListPluginsRequest, RevokeUserRequest,
        ShowStatusRequest, StageBeginRequest, StageRequest, files_client::FilesClient,
        plugins_client::PluginsClient, status_client::StatusClient, users_client::UsersClient,
    },
};
use raw::call;
use tokio_stream::StreamExt as _;
use tonic::Request;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use world::World;

async fn ledger_length(world: &World) -> u64 {
    let heads = world.custody.status().await.unwrap().heads;
    heads.iter().map(|head| head.sequence).sum()
}

#[tokio::test]
async fn an_admin_sees_the_host() {
    let world = World::start().await;
    let mut status = StatusClient::new(world.as_admin().await.channel());
    let shown = status.show_status(ShowStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(shown.cluster, "spiffe://acme/site/shenzhen");
    assert_eq!((shown.kind.as_str(), shown.node.as_str()), ("trial", "n1"));
    assert_eq!(shown.heads.len(), 1);
}

#[tokio::test]
async fn g8_every_role_gets_what_the_matrix_says_and_no_more() {
    let world = World::start().await;
    let matrix = include_str!("golden/roles.txt");
    for role in Role::ALL {
        let person = world.hire(*role, "somebody").await.unwrap();
        let connection = world.connect(&person).await.unwrap();
        for line in matrix.lines() {
            let mut columns = line.split_whitespace();
            let path = columns.next().unwrap();
            let allowed = columns.any(|column| column == role.name());
            let answer = call(&connection, path, Request::new(Bytes::new())).await;
            let denied = answer.is_err_and(|failure| failure.is(Reason::PermissionDenied));
            assert_eq!(denied, !allowed, "{path} as {}", role.name());
        }
    }
}

#[tokio::test]
async fn g8_a_refused_role_is_a_row_of_the_ledger() {
    let world = World::start().await;
    let station = world.hire(Role::Station, "tester").await.unwrap();
    let before = ledger_length(&world).await;
    let connection = world.connect(&station).await.unwrap();
    let path = "/mintmark.admin.v1.Users/IssueUser";
    let refused = call(&connection, path, Request::new(Bytes::new())).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    assert_eq!(ledger_length(&world).await, before + 1);
}

#[tokio::test]
async fn g8_a_revoked_certificate_is_refused_on_open_and_on_new_connections() {
    let world = World::start().await;
    let auditor = world.hire(Role::Auditor, "eve").await.unwrap();
    let connection = world.connect(&auditor).await.unwrap();
    let path = "/mintmark.admin.v1.Peers/ListPeers";
    call(&connection, path, Request::new(Bytes::new())).await.unwrap();
    let mut users = UsersClient::new(world.as_admin().await.channel());
    let request = RevokeUserRequest { role: "auditor".to_owned(), name: "eve".to_owned() };
    users.revoke_user(request).await.unwrap();
    let before = ledger_length(&world).await;
    let refused = call(&connection, path, Request::new(Bytes::new())).await.unwrap_err();
    assert!(refused.is(Reason::PermissionDenied), "{refused}");
    assert_eq!(ledger_length(&world).await, before + 1);
    let refused = match world.connect(&auditor).await {
        Ok(again) => call(&again, path, Request::new(Bytes::new())).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn g9_headers_cannot_speak_for_a_principal() {
    let world = World::start().await;
    let station = world.hire(Role::Station, "tester").await.unwrap();
    let connection = world.connect(&station).await.unwrap();
    let mut request = Request::new(Bytes::new());
    for (name, value) in [
        ("x-forwarded-client-cert", "URI=spiffe://acme/site/shenzhen/admin/root"),
        ("x-tenant", "spiffe://acme/site/shenzhen/admin/root"),
        ("authorization", "Bearer admin"),
        ("grpc-timeout", "99999999H"),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let path = "/mintmark.admin.v1.Outbox/ListOutbox";
    let refused = call(&connection, path, request).await.unwrap_err();
    assert!(refused.is(Reason::PermissionDenied), "{refused}");
}

#[tokio::test]
async fn g12_unknown_methods_are_unimplemented() {
    let world = World::start().await;
    let connection = world.as_admin().await;
    for path in [
        "/",
        "/mintmark.admin.v1.Users",
        "/mintmark.admin.v1.Users/Nothing",
        "/mintmark.admin.v2.Users/IssueUser",
        "/mintmark.admin.v1.Users/IssueUser/",
        "//mintmark.admin.v1.Users/IssueUser",
        "/mintmark.devicekey.v1.DeviceKey/Provision",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let refused = call(&connection, path, Request::new(Bytes::new())).await.unwrap_err();
        assert_eq!(refused.code, Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn g12_malformed_messages_are_refused() {
    let world = World::start().await;
    let connection = world.as_admin().await;
    for bytes in [&b"\xff"[..], b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x01\x0a", &[0x0b; 100_000]] {
        let request = Request::new(Bytes::from(bytes.to_vec()));
        let path = "/mintmark.admin.v1.Users/IssueUser";
        let refused = call(&connection, path, request).await.unwrap_err();
        assert!(refused.is(Reason::InvalidArgument), "{refused}");
    }
}

#[tokio::test]
async fn g2_messages_and_headers_have_a_size() {
    let world = World::start().await;
    let connection = world.as_admin().await;
    let path = "/mintmark.admin.v1.Users/IssueUser";
    let large = Request::new(Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX + 1]));
    assert_eq!(call(&connection, path, large).await.unwrap_err().code, Code::OutOfRange);

    let mut wordy = Request::new(Bytes::new());
    let value = "x".repeat(limits::HEADER_BYTES_MAX as usize);
    wordy.metadata_mut().insert("x-words", value.parse().unwrap());
    assert!(call(&connection, path, wordy).await.is_err());
    // The connection, or another, still serves.
    let path = "/mintmark.admin.v1.Outbox/ListOutbox";
    call(&connection, path, Request::new(Bytes::new())).await.unwrap();
}

#[tokio::test]
async fn health_knows_the_services() {
    let world = World::start().await;
    let mut health = HealthClient::new(world.as_admin().await.channel());
    for service in ["", "mintmark.admin.v1.Files"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
    let unknown = HealthCheckRequest { service: "no.Such".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn s4_health_says_that_the_storage_is_low_and_full_and_that_it_no_longer_is() {
    let world = World::start().await;
    let admin = world.as_admin().await;
    let mut health = HealthClient::new(admin.channel());
    let mut status = StatusClient::new(admin.channel());
    let mark = status.show_status(ShowStatusRequest {}).await.unwrap().into_inner();
    let mark = mark.storage.unwrap().mark_bytes;
    for (free, state, serving) in
        [(mark - 1, "low", [1, 2]), (0, "full", [2, 2]), (2 * mark, "ample", [1, 1])]
    {
        world.room.set_free(free);
        // The host looks once a second.
        let seen = async {
            loop {
                let shown = status.show_status(ShowStatusRequest {}).await.unwrap();
                let storage = shown.into_inner().storage.unwrap();
                if storage.state == state {
                    return storage;
                }
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(std::time::Duration::from_secs(60), seen).await.unwrap();
        assert_eq!(seen.free_bytes, Some(free));
        assert_eq!(seen.detail.is_empty(), state == "ample");
        for (service, wanted) in ["", "mintmark.storage"].into_iter().zip(serving) {
            let request = HealthCheckRequest { service: service.to_owned() };
            let told = health.check(request).await.unwrap().into_inner().status;
            assert_eq!(told, wanted, "`{service}` of a host whose storage is {state}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_call_of_the_hosts_whose_client_leaves_is_carried_to_its_end() {
    let world = World::start().await;
    let otto = world.hire(Role::Operator, "otto").await.unwrap();
    let (admin, otto) = (world.as_admin().await, world.connect(&otto).await.unwrap());
    let mut users = UsersClient::new(admin.channel());
    let request = RevokeUserRequest { role: "operator".to_owned(), name: "otto".to_owned() };
    let gate = std::sync::Arc::clone(&world.gate);
    gate.set(true);
    let waits = tokio::task::spawn_blocking(move || gate.until_a_commit_waits());
    let mut revoking = Box::pin(users.revoke_user(request));
    tokio::select! {
        biased;
        answer = &mut revoking => panic!("answered before the sync: {answer:?}"),
        waiting = waits => waiting.unwrap(),
    }
    drop(revoking);
    // By the answer to a later call on the connection, the host has heard that the client left.
    let mut status = StatusClient::new(admin.channel());
    for _ in 0..8 {
        status.show_status(ShowStatusRequest {}).await.unwrap();
    }
    world.gate.set(false);
    // What is durable the host's memory has to learn of: otto's open connection is worth nothing.
    let path = "/mintmark.admin.v1.Peers/ListPeers";
    let refused = async {
        while call(&otto, path, Request::new(Bytes::new())).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), refused).await.unwrap();
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    let world = World::start().await;
    let mut reflection = ServerReflectionClient::new(world.as_admin().await.channel());
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = reflection.server_reflection_info(tokio_stream::once(asked)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("no list: {answer:?}");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"mintmark.admin.v1.Files") && names.contains(&"grpc.health.v1.Health"));
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    mintmark_crypto::digest::sha256(bytes)
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_sent() {
    let world = World::start().await;
    let channel = world.as_admin().await.channel();
    for length in [0, 1, limits::CHUNK_BYTES_MAX, 2 * limits::CHUNK_BYTES_MAX + 17] {
        let sent: Bytes = (0..length).map(|i| (i % 251) as u8).collect();
        let file_id = files::stage(&channel, &sent, &sha256(&sent)).await.unwrap();
        let mut fetched = Vec::new();
        assert_eq!(files::fetch(&channel, &file_id, &mut fetched).await.unwrap(), length as u64);
        assert_eq!(fetched, sent);
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    let world = World::start().await;
    let mut files = FilesClient::new(world.as_admin().await.channel());
    let begun = files.stage_begin(StageBeginRequest {}).await.unwrap().into_inner();
    let part = |offset, data: &'static [u8], digest: Option<[u8; 32]>| StageRequest {
        file_id: begun.file_id.clone(),
        offset,
        data: Bytes::from_static(data),
        digest: digest.map(|digest| Bytes::copy_from_slice(&digest)),
    };
    let first = files.stage(tokio_stream::iter([part(0, b"abc", None)])).await.unwrap();
    assert!(!first.get_ref().finished);
    let fetch = FetchRequest { file_id: begun.file_id.clone(), offset: 0 };
    assert_eq!(files.fetch(fetch.clone()).await.unwrap_err().code(), Code::NotFound);

    let length = files.stage(tokio_stream::iter([part(0, b"", None)])).await.unwrap();
    assert_eq!(length.into_inner().length, 3);
    let gap = files.stage(tokio_stream::iter([part(4, b"e", None)])).await.unwrap_err();
    assert!(Failure::from(gap).is(Reason::InvalidArgument));
    let wrong = part(3, b"def", Some(sha256(b"other")));
    assert!(files.stage(tokio_stream::iter([wrong])).await.is_err());
    let rest = part(3, b"def", Some(sha256(b"abcdef")));
    assert!(files.stage(tokio_stream::iter([rest])).await.unwrap().into_inner().finished);
    let mut parts = files.fetch(fetch).await.unwrap().into_inner();
    assert_eq!(&parts.message().await.unwrap().unwrap().data[..], b"abcdef");
}

#[tokio::test]
async fn a_stream_fills_one_file() {
    let world = World::start().await;
    let mut files = FilesClient::new(world.as_admin().await.channel());
    let part = |file_id: &str, offset| StageRequest {
        file_id: file_id.to_owned(),
        offset,
        data: Bytes::from_static(b"x"),
        digest: None,
    };
    let other = "0".repeat(32);
    let mixed = [part("", 0), part(&other, 1)];
    let refused = files.stage(tokio_stream::iter(mixed)).await.unwrap_err();
    assert!(Failure::from(refused).is(Reason::InvalidArgument));
}

#[tokio::test]
async fn w18_a_component_has_a_size_and_must_be_one() {
    let world = World::start().await;
    let mut plugins = PluginsClient::new(world.as_admin().await.channel());
    let chunk = || InstallRequest { chunk: Bytes::from(vec![0; limits::CHUNK_BYTES_MAX]) };
    let large = tokio_stream::iter((0..33).map(move |_| chunk()));
    let refused = Failure::from(plugins.install(large).await.unwrap_err());
    assert!(refused.is(Reason::InvalidArgument), "{refused}");
    let junk = InstallRequest { chunk: Bytes::from_static(b"\0asm\x0d\0\x01\0junk") };
    let refused = Failure::from(plugins.install(tokio_stream::once(junk)).await.unwrap_err());
    assert!(refused.is(Reason::InvalidArgument), "{refused}");
    let installed = plugins.list_plugins(ListPluginsRequest {}).await.unwrap().into_inner();
    assert!(installed.plugins.is_empty());
    let unknown = InspectPluginRequest { measurement: vec![7; 32] };
    let refused = Failure::from(plugins.inspect_plugin(unknown).await.unwrap_err());
    assert!(refused.is(Reason::NotFound), "{refused}");
}

#[tokio::test]
async fn g17_a_call_that_runs_is_finished_before_the_end() {
    let mut world = World::start().await;
    let mut files = FilesClient::new(world.as_admin().await.channel());
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let part =
        |offset| StageRequest { offset, data: Bytes::from_static(b"x"), ..StageRequest::default() };
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let staging = tokio::spawn(async move { files.stage(requests).await });
    let before = commits(&world).await;
    sender.send(part(0)).await.unwrap();
    while commits(&world).await == before {
        tokio::task::yield_now().await;
    }
    let ended = world.stop();
    sender.send(part(1)).await.unwrap();
    drop(sender);
    let staged = staging.await.unwrap().unwrap().into_inner();
    assert_eq!(staged.length, 2);
    ended.await.unwrap();
    assert!(world.connect(&world.admin).await.is_err());
}

#[tokio::test]
async fn g14_a_connection_that_ended_is_made_again_or_says_that_waiting_helps() {
    let mut world = World::start().await;
    let connection = world.as_admin().await;
    let mut status = StatusClient::new(connection.channel());
    status.show_status(ShowStatusRequest {}).await.unwrap();
    world.stop().await.unwrap();
    let broken = Failure::from(status.show_status(ShowStatusRequest {}).await.unwrap_err());
    assert!(broken.is_transient() && broken.code == Code::Unavailable, "{broken:?}");
    world.serve().await;
    let mut status = StatusClient::new(connection.channel());
    status.show_status(ShowStatusRequest {}).await.unwrap();
}

async fn commits(world: &World) -> u64 {
    world.custody.status().await.unwrap().commit
}
