//! Reads a component without running or compiling any of it.
//!
//! A component is attacker-controlled until it is signed, and its size and shape decide how long a
//! compiler works on it. So sizes, counts and nesting are checked first, on the binary; then the
//! two custom sections, then the imports.

mod descriptors;
mod imports;
mod scan;

use mintmark_custody::{Digest, sha256};

pub use descriptors::{Method, Service};

use crate::config::COMPONENT_BYTES_MAX;
use crate::error::Error;
use crate::manifest::Manifest;

/// What a component says about itself.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// SHA-256 of the whole file.
    pub measurement: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// An encoded `google.protobuf.FileDescriptorSet`.
    pub descriptors: Vec<u8>,
    /// The services of the descriptors, with the roles of the manifest.
    pub services: Vec<Service>,
    /// Every import, in order.
    pub imports: Vec<String>,
    /// The file's size in bytes.
    pub size: usize,
}

/// Reads a component.
///
/// # Errors
///
/// The first thing that is wrong, missing or not allowed, by name.
pub fn inspect(bytes: &[u8]) -> Result<Inspected, Error> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(Error::Precompiled);
    }
    let found = scan::scan(bytes)?;
    let manifest = std::str::from_utf8(found.manifest)
        .map_err(|_| Error::manifest("it is not UTF-8"))
        .and_then(Manifest::parse)?;
    imports::check(&found.imports, &manifest)?;
    let services = descriptors::read(found.descriptors, &manifest)?;
    Ok(Inspected {
        measurement: sha256(bytes),
        manifest,
        descriptors: found.descriptors.to_vec(),
        services,
        imports: found.imports,
        size: bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::{LOGGING, MANIFEST, PLAIN, Text, descriptors};

    fn plain() -> Vec<u8> {
        Text { descriptors: &descriptors(false), ..PLAIN }.binary()
    }

    fn parse(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_component_says_who_it_is_what_it_serves_and_what_it_imports() {
        let bytes = Text { descriptors: &descriptors(false), ..LOGGING }.binary();
        let inspected = inspect(&bytes).unwrap();
        assert_eq!(inspected.manifest.name, "p");
        assert_eq!(inspected.imports, ["mintmark:host/log@0.1.0"]);
        assert_eq!(inspected.services[0].methods[0].name, "One");
        assert_eq!((inspected.size, inspected.measurement), (bytes.len(), sha256(&bytes)));
    }

    #[test]
    fn p1_every_truncated_prefix_is_refused() {
        let bytes = plain();
        let whole = inspect(&bytes).unwrap().measurement;
        let taken = (0..bytes.len()).filter_map(|length| inspect(&bytes[..length]).ok());
        // The export is the last section that counts; what follows are names for debuggers. Without
        // them it is another component, with a measurement of its own.
        let taken: Vec<_> = taken.map(|inspected| inspected.measurement).collect();
        assert!(taken.len() <= 1 && !taken.contains(&whole), "{}", taken.len());
    }

    #[test]
    fn p2_no_bit_flip_is_a_panic_and_each_is_another_measurement() {
        let bytes = plain();
        let whole = inspect(&bytes).unwrap().measurement;
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << (position % 8);
            if let Ok(inspected) = inspect(&flipped) {
                assert_ne!(inspected.measurement, whole);
            }
        }
    }

    #[test]
    fn w18_what_is_too_large_is_not_even_read() {
        assert!(matches!(inspect(&vec![0; COMPONENT_BYTES_MAX + 1]), Err(Error::TooLarge)));
    }

    #[test]
    fn w26_compiled_code_and_core_modules_are_no_components() {
        let engine = wasmtime::Engine::default();
        let compiled = wasmtime::component::Component::new(&engine, plain()).unwrap();
        let compiled = compiled.serialize().unwrap();
        assert!(matches!(inspect(&compiled), Err(Error::Precompiled)));
        assert!(matches!(inspect(&parse("(module)")), Err(Error::NotAComponent)));
        assert!(matches!(inspect(b""), Err(Error::NotAComponent)));
    }

    #[test]
    fn both_sections_are_there_once() {
        assert!(matches!(inspect(&parse("(component)")), Err(Error::ExportMissing)));
        let export = r#"(instance $i) (export "mintmark:plugin/service@0.1.0" (instance $i))"#;
        let bare = parse(&format!("(component {export})"));
        assert!(matches!(inspect(&bare), Err(Error::SectionMissing("mintmark:manifest"))));
        let manifest = r#"(@custom "mintmark:manifest" "x")"#;
        let half = parse(&format!("(component {manifest} {export})"));
        assert!(matches!(inspect(&half), Err(Error::SectionMissing("mintmark:descriptors"))));
        let twice = parse(&format!("(component {manifest} (core module {manifest}))"));
        assert!(matches!(inspect(&twice), Err(Error::SectionTwice("mintmark:manifest"))));
    }

    #[test]
    fn w16_bombs_of_modules_instances_and_nesting_are_refused() {
        let modules = format!("(component {})", "(core module)".repeat(1_000));
        let instances = format!(
            "(component (core module $m) {})",
            "(core instance (instantiate $m))".repeat(10_000)
        );
        let nested = format!("{}{}", "(component ".repeat(50), ")".repeat(50));
        for bomb in [modules, instances, nested] {
            assert!(matches!(inspect(&parse(&bomb)), Err(Error::Excess(_))));
        }
    }

    #[test]
    fn w17_bombs_for_the_compiler_are_refused() {
        let huge = format!("(func {})", "(nop)".repeat(2 << 20));
        let locals = format!("(func (local {}))", "i64 ".repeat(40_000));
        let many = "(func)".repeat(60_000);
        for bomb in [huge, locals, many] {
            let component = parse(&format!("(component (core module {bomb}))"));
            assert!(matches!(inspect(&component), Err(Error::Excess(_))));
        }
    }

    #[test]
    fn w20_an_import_of_files_is_refused_by_name() {
        let text = r#"(component (import "wasi:filesystem/preopens@0.2.6" (instance $i))
            (export "mintmark:plugin/service@0.1.0" (instance $i)) %)"#;
        let sections = r#"(@custom "mintmark:manifest" "%M") (@custom "mintmark:descriptors" "")"#;
        let manifest = MANIFEST.replace('\n', "\\n");
        let text = text.replace('%', &sections.replace("%M", &manifest));
        let refused = inspect(&parse(&text)).unwrap_err();
        assert_eq!(refused, Error::ImportForbidden("wasi:filesystem/preopens@0.2.6".into()));
    }
}
