//! Guests in the text format, written by hand: a template and its parts.

#![allow(dead_code, reason = "unit tests and integration tests use their own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub(crate) mod counter;

const TEMPLATE: &str = include_str!("guest.wat");

/// A manifest that fits what the template describes.
pub(crate) const MANIFEST: &str = "name = 'p'\nversion = '1.0.0'\nsecurity_version = 1\n\
                                   contract = '0.1.0'\n[services.'a.S']\nOne = ['admin']\n";

/// The parts of a guest.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    /// Imports of the component.
    pub(crate) imports: &'a str,
    /// How they are lowered to core functions, and handed to the core module.
    pub(crate) lowered: &'a str,
    /// See `lowered`.
    pub(crate) with: &'a str,
    /// Fields of the core module, imports first.
    pub(crate) fields: &'a str,
    /// What `describe` does first.
    pub(crate) describe: &'a str,
    /// The body of the core function `call`.
    pub(crate) call: &'a str,
    /// The body of the function that is called after it.
    pub(crate) after: &'a str,
    /// What `realloc` does before it allocates.
    pub(crate) realloc: &'a str,
    /// Memory, in pages.
    pub(crate) pages: u32,
    /// The manifest.
    pub(crate) manifest: &'a str,
    /// The encoded descriptors.
    pub(crate) descriptors: &'a [u8],
}

/// A guest that answers `ok` without bytes.
pub(crate) const PLAIN: Guest<'static> = Guest {
    imports: "",
    lowered: "",
    with: "",
    fields: "",
    describe: "",
    call: "(i32.const 512)",
    after: "",
    realloc: "",
    pages: 1,
    manifest: MANIFEST,
    descriptors: b"",
};

/// The same, with the core function `$log`: level, address and length of the line.
pub(crate) const LOGGING: Guest<'static> = Guest {
    imports: r#"(import "mintmark:host/log@0.1.0" (instance $log
        (type $level' (enum "debug" "info" "warning" "error"))
        (export "level" (type $level (eq $level')))
        (export "write" (func (param "level" $level) (param "line" string)))))"#,
    lowered: r#"(core func $log (canon lower
        (func $log "write") (memory (core memory $memory "memory"))))"#,
    with: r#"(with "host" (instance (export "log" (func $log))))"#,
    fields: r#"(import "host" "log" (func $log (param i32 i32 i32)))"#,
    ..PLAIN
};

impl Guest<'_> {
    /// The component, in binary.
    pub(crate) fn binary(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    fn text(&self) -> String {
        [
            ("%IMPORTS%", self.imports),
            ("%LOWERED%", self.lowered),
            ("%WITH%", self.with),
            ("%FIELDS%", self.fields),
            ("%DESCRIBE%", self.describe),
            ("%CALL%", self.call),
            ("%AFTER%", self.after),
            ("%REALLOC%", self.realloc),
            ("%PAGES%", &self.pages.to_string()),
            ("%MANIFEST%", &escaped(self.manifest.as_bytes())),
            ("%DESCRIPTORS%", &escaped(self.descriptors)),
        ]
        .iter()
        .fold(TEMPLATE.to_owned(), |text, (word, part)| text.replace(word, part))
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Descriptors of the service `a.S` with the method `One`, and `Many` if it is wanted, which is a
/// stream.
pub(crate) fn descriptors(many: bool) -> Vec<u8> {
    use prost::Message;
    use prost_types::{
        DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
        ServiceDescriptorProto,
    };
    let method = |name: &str, streaming| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(".a.M".into()),
        output_type: Some(".a.M".into()),
        client_streaming: Some(streaming),
        server_streaming: Some(streaming),
        ..Default::default()
    };
    let mut methods = vec![method("One", false)];
    methods.extend(many.then(|| method("Many", true)));
    let service =
        ServiceDescriptorProto { name: Some("S".into()), method: methods, ..Default::default() };
    let file = FileDescriptorProto {
        name: Some("a.proto".into()),
        package: Some("a".into()),
        message_type: vec![DescriptorProto { name: Some("M".into()), ..Default::default() }],
        service: vec![service],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}
