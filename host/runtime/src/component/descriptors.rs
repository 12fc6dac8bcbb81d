//! The services of a plugin: methods from its descriptors, roles from its manifest. They have to be
//! the same set.
//!
//! Only the protobuf encoding and names are looked at. Libraries that link descriptors are made for
//! what a compiler wrote, and panic on what an attacker did.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

use mintmark_model::Role;

use crate::error::{Error, foreign};
use crate::manifest::Manifest;

/// Packages of the host and of everybody.
const RESERVED: &[&str] = &["mintmark.admin.", "grpc.", "google."];

/// The longest full name.
const NAME_BYTES_MAX: usize = 255;

/// A service of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `package.Service`.
    pub name: String,
    /// Its methods.
    pub methods: Vec<Method>,
}

/// A method of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// Who may call it.
    pub roles: Vec<Role>,
    /// Whether the client sends a stream.
    pub client_streaming: bool,
    /// Whether the answer is a stream.
    pub server_streaming: bool,
}

/// Reads an encoded `FileDescriptorSet`.
pub(super) fn read(bytes: &[u8], manifest: &Manifest) -> Result<Vec<Service>, Error> {
    let set =
        FileDescriptorSet::decode(bytes).map_err(|_| Error::descriptors("they do not decode"))?;
    let found = set.file.iter().flat_map(|file| {
        file.service.iter().map(move |service| read_service(file, service, manifest))
    });
    let services = found.collect::<Result<Vec<_>, _>>()?;
    check_same(services.iter().map(|service| &service.name), manifest.services.keys())?;
    Ok(services)
}

fn read_service(
    file: &FileDescriptorProto,
    service: &ServiceDescriptorProto,
    manifest: &Manifest,
) -> Result<Service, Error> {
    let name = format!("{}.{}", file.package(), service.name());
    check_name(&name)?;
    if RESERVED.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Error::ServiceReserved(foreign(&name)));
    }
    let unclaimed = || Error::descriptors(&format!("the manifest does not have `{name}`"));
    let listed = manifest.services.get(&name).ok_or_else(unclaimed)?;
    check_same(service.method.iter().map(MethodDescriptorProto::name), listed.keys())?;
    let methods = service.method.iter().map(|method| {
        check_name(method.name())?;
        Ok(Method {
            name: method.name().to_owned(),
            roles: listed.get(method.name()).cloned().unwrap_or_default(),
            client_streaming: method.client_streaming(),
            server_streaming: method.server_streaming(),
        })
    });
    Ok(Service { methods: methods.collect::<Result<_, Error>>()?, name })
}

/// The descriptors' names are each there once, and are those of the manifest.
fn check_same<'a, N: AsRef<str>>(
    found: impl Iterator<Item = N>,
    listed: impl Iterator<Item = &'a String>,
) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for name in found {
        let name = name.as_ref().to_owned();
        if let Some(twice) = names.replace(name) {
            return Err(Error::descriptors(&format!("`{twice}` is there twice")));
        }
    }
    let listed: BTreeSet<_> = listed.cloned().collect();
    match names.symmetric_difference(&listed).next() {
        Some(name) if listed.contains(name) => {
            Err(Error::descriptors(&format!("they do not have `{name}`, which the manifest has")))
        }
        Some(name) => {
            Err(Error::descriptors(&format!("the manifest does not say who may call `{name}`")))
        }
        None => Ok(()),
    }
}

/// Names are what a protobuf compiler takes: identifiers with dots between them.
fn check_name(name: &str) -> Result<(), Error> {
    let identifier = |part: &str| {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        part.bytes().next().is_some_and(|first| !first.is_ascii_digit()) && part.bytes().all(word)
    };
    if name.len() <= NAME_BYTES_MAX && name.split('.').all(identifier) {
        return Ok(());
    }
    Err(Error::descriptors(&format!("`{name}` is no name")))
}

#[cfg(test)]
mod tests {
    use prost_types::DescriptorProto;

    use super::*;

    fn encoded(package: &str, methods: &[(&str, bool)]) -> Vec<u8> {
        let message = format!(".{package}.M");
        let method = |(name, streaming): &(&str, bool)| MethodDescriptorProto {
            name: Some((*name).into()),
            input_type: Some(message.clone()),
            output_type: Some(message.clone()),
            client_streaming: Some(*streaming),
            server_streaming: Some(*streaming),
            ..Default::default()
        };
        let file = FileDescriptorProto {
            name: Some("t.proto".into()),
            package: Some(package.into()),
            message_type: vec![DescriptorProto { name: Some("M".into()), ..Default::default() }],
            service: vec![ServiceDescriptorProto {
                name: Some("S".into()),
                method: methods.iter().map(method).collect(),
                ..Default::default()
            }],
            syntax: Some("proto3".into()),
            ..Default::default()
        };
        FileDescriptorSet { file: vec![file] }.encode_to_vec()
    }

    fn manifest(service: &str, methods: &str) -> Manifest {
        let begin = "name = \"p\"\nversion = \"1.0.0\"\nsecurity_version = 0\ncontract = \"0.1.0\"";
        Manifest::parse(&format!("{begin}\n[services.\"{service}\"]\n{methods}")).unwrap()
    }

    #[test]
    fn methods_come_from_the_descriptors_and_roles_from_the_manifest() {
        let bytes = encoded("a", &[("One", false), ("Many", true)]);
        let manifest = manifest("a.S", "One = [\"admin\"]\nMany = [\"station\"]");
        let services = read(&bytes, &manifest).unwrap();
        assert_eq!(services[0].name, "a.S");
        let [one, many] = &services[0].methods[..] else { panic!("two methods") };
        assert!(!one.client_streaming && many.client_streaming && many.server_streaming);
        assert_eq!((&one.roles[..], &many.roles[..]), (&[Role::Admin][..], &[Role::Station][..]));
    }

    #[test]
    fn i8_a_method_without_roles_or_roles_without_a_method_are_refused() {
        let bytes = encoded("a", &[("One", false)]);
        for manifest in [
            manifest("a.S", "Other = [\"admin\"]"),
            manifest("a.S", "One = [\"admin\"]\nOther = [\"admin\"]"),
            manifest("a.T", "One = [\"admin\"]"),
            manifest("a.S\"]\nOne = [\"admin\"]\n[services.\"a.T", "One = [\"admin\"]"),
        ] {
            assert!(matches!(read(&bytes, &manifest), Err(Error::Descriptors(_))));
        }
    }

    #[test]
    fn no_plugin_claims_a_service_of_the_host() {
        for package in ["mintmark.admin.v1", "grpc.health.v1"] {
            let bytes = encoded(package, &[("One", false)]);
            let manifest = manifest(&format!("{package}.S"), "One = [\"admin\"]");
            let reserved = Error::ServiceReserved(format!("{package}.S"));
            assert_eq!(read(&bytes, &manifest), Err(reserved));
        }
    }

    #[test]
    fn p1_every_truncated_prefix_is_refused() {
        let bytes = encoded("a", &[("One", false)]);
        let manifest = manifest("a.S", "One = [\"admin\"]");
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], &manifest).is_err(), "{length}");
        }
    }

    #[test]
    fn p5_p16_names_are_identifiers_and_there_once() {
        let manifest = manifest("a.S", "One = [\"admin\"]");
        let twice = encoded("a", &[("One", false), ("One", true)]);
        assert!(matches!(read(&twice, &manifest), Err(Error::Descriptors(_))));
        let two = [encoded("a", &[("One", false)]), encoded("a", &[("One", false)])].concat();
        assert!(matches!(read(&two, &manifest), Err(Error::Descriptors(_))));
        for name in ["", "a..S", "a/S", "1a.S", "a.S\n", "а.S", &"a".repeat(256)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
