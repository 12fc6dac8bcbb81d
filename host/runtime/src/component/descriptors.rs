//! The services of a plugin: methods from its descriptors, roles from its manifest. They have to be the same set.

use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};

use mintmark_model::Role;

use crate::error::{Error, foreign};
use crate::manifest::Manifest;

/// Packages of the host and of everybody.
const RESERVED: &[&str] = &["mintmark.admin.", "grpc.", "google."];

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
    let pool = DescriptorPool::decode(bytes)
        .map_err(|error| Error::descriptors(&error.to_string()))?;
    let services = pool.services().map(|service| read_service(&service, manifest));
    let services = services.collect::<Result<Vec<_>, _>>()?;
    let absent = manifest.services.keys().find(|name| {
        services.iter().all(|service| service.name != **name)
    });
    match absent {
        Some(name) => Err(Error::descriptors(&format!("they do not have the service `{name}`"))),
        None => Ok(services),
    }
}

fn read_service(service: &ServiceDescriptor, manifest: &Manifest) -> Result<Service, Error> {
    let name = service.full_name();
    if RESERVED.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Error::ServiceReserved(foreign(name)));
    }
    let unclaimed = || Error::descriptors(&format!("the manifest does not have `{name}`"));
    let listed = manifest.services.get(name).ok_or_else(unclaimed)?;
    let methods = service.methods().map(|method| {
        let absent = || {
            let what = format!("the manifest does not say who may call `{}`", method.full_name());
            Error::descriptors(&what)
        };
        Ok(read_method(&method, listed.get(method.name()).ok_or_else(absent)?))
    });
    let methods = methods.collect::<Result<Vec<_>, Error>>()?;
    if let Some(extra) = listed.keys().find(|name| methods.iter().all(|one| one.name != **name)) {
        return Err(Error::descriptors(&format!("`{name}` has no method `{extra}`")));
    }
    Ok(Service { name: name.to_owned(), methods })
}

fn read_method(method: &MethodDescriptor, roles: &[Role]) -> Method {
    Method {
        name: method.name().to_owned(),
        roles: roles.to_vec(),
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::prost::Message;
    use prost_reflect::prost_types::{
        DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
        ServiceDescriptorProto,
    };

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
}
