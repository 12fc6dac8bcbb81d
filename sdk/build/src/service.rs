//! Writes the trait and the dispatch of a service.

use std::collections::BTreeSet;

use prost_build::{Method, Service, ServiceGenerator};
use prost_types::FileDescriptorSet;

use crate::shape::Messages;

/// Where generated code finds the SDK.
const SDK: &str = "::mintmark_sdk";

/// Called by prost-build for each service, after the messages of its package.
pub(crate) struct Generator {
    messages: Messages,
    descriptors_file: &'static str,
}

impl Generator {
    pub(crate) fn new(descriptors: &FileDescriptorSet, descriptors_file: &'static str) -> Self {
        Self { messages: Messages::of(descriptors), descriptors_file }
    }

    fn write_trait(service: &Service, buffer: &mut String) {
        service.comments.append_with_indent(0, buffer);
        buffer.push_str(&format!("pub trait {} {{\n", trait_name(service)));
        for method in &service.methods {
            let Method { name, input_type, output_type, .. } = method;
            method.comments.append_with_indent(1, buffer);
            buffer.push_str(&format!(
                "    fn {name}(&self, request: {input_type}) \
                 -> ::core::result::Result<{output_type}, {SDK}::Status>;\n"
            ));
        }
        buffer.push_str("}\n");
    }

    fn write_module(&self, service: &Service, buffer: &mut String) {
        let (module, name) = (module_name(&service.name), trait_name(service));
        let full_name = match service.package.as_str() {
            "" => service.proto_name.clone(),
            package => format!("{package}.{}", service.proto_name),
        };
        buffer.push_str(&format!(
            "/// [`{name}`], from bytes to bytes.\n\
             pub mod {module} {{\n\
             /// The service's full name.\n\
             pub const SERVICE_NAME: &str = {full_name:?};\n\
             /// The plugin's services: an encoded `google.protobuf.FileDescriptorSet`.\n\
             #[allow(dead_code, reason = \"not every plugin reads its own\")]\n\
             pub const DESCRIPTORS: &[u8] = ::core::include_bytes!({file:?});\n",
            file = self.descriptors_file,
        ));
        self.write_dispatch(service, &name, buffer);
        self.write_shapes(service, buffer);
        buffer.push_str("}\n");
    }

    fn write_dispatch(&self, service: &Service, trait_name: &str, buffer: &mut String) {
        buffer.push_str(&format!(
            "/// Calls the method that is called `method`.\n\
             ///\n\
             /// # Errors\n\
             /// `INVALID_ARGUMENT` for bytes that are not its request; otherwise as the method.\n\
             pub fn dispatch(service: &(impl super::{trait_name} + ?Sized), method: &str, \
             message: &[u8]) -> ::core::result::Result<::std::vec::Vec<u8>, {SDK}::Status> {{\n\
             match method {{\n"
        ));
        for method in &service.methods {
            let Method { name, proto_name, input_proto_type, .. } = method;
            let shape = self.messages.constant_name(input_proto_type);
            buffer.push_str(&format!(
                "{proto_name:?} => {SDK}::service::answer(&shapes::{shape}, message, \
                 |request| service.{name}(request)),\n"
            ));
        }
        buffer.push_str(&format!(
            "_ => ::core::result::Result::Err({SDK}::Status::unimplemented()),\n}}\n}}\n"
        ));
    }

    /// The shapes of every message that a request can contain.
    fn write_shapes(&self, service: &Service, buffer: &mut String) {
        let requests = service.methods.iter().map(|method| method.input_proto_type.as_str());
        let reachable: BTreeSet<&str> = self.messages.reachable(requests);
        buffer.push_str("mod shapes {\n");
        buffer.push_str(&format!("use {SDK}::service::{{Field, Kind, Shape}};\n"));
        for message in reachable {
            self.messages.write(message, buffer);
        }
        buffer.push_str("}\n");
    }
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buffer: &mut String) {
        Self::write_trait(&service, buffer);
        self.write_module(&service, buffer);
    }
}

/// `LotsService` for `Lots`, and for `LotsService` too.
fn trait_name(service: &Service) -> String {
    match service.name.strip_suffix("Service") {
        Some(stem) if !stem.is_empty() => service.name.clone(),
        _ => format!("{}Service", service.name),
    }
}

/// `device_key` for `DeviceKey`: a word begins where a capital follows a small letter or a digit,
/// and at the last of several capitals before a small letter.
fn module_name(service: &str) -> String {
    let letters: Vec<char> = service.chars().collect();
    let mut name = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let after_small = before.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit());
        let before_small = before.is_some_and(char::is_uppercase)
            && letters.get(at + 1).is_some_and(|c| c.is_lowercase());
        if letter.is_uppercase() && (after_small || before_small) {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::module_name;

    #[test]
    fn a_module_is_called_as_the_service_in_small_letters() {
        assert_eq!(module_name("DeviceKey"), "device_key");
        assert_eq!(module_name("Audit"), "audit");
        assert_eq!(module_name("CSRCheck2Go"), "csr_check2_go");
    }
}
