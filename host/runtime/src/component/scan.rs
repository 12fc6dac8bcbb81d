//! One pass over the sections of a component and of what is nested in it.

use wasmparser::{
    ComponentExportSectionReader, ComponentExternName, ComponentImportSectionReader,
    CustomSectionReader, Encoding, FunctionBody, Parser, Payload,
};

use crate::error::{Error, foreign};
use crate::manifest::MANIFEST_BYTES_MAX;

/// Where the SDK puts the manifest: a custom section of the core module, nested in the component.
const MANIFEST: &str = "mintmark:manifest";

/// Where the SDK puts the descriptors.
const DESCRIPTORS: &str = "mintmark:descriptors";

/// What every plugin exports; patch versions only add to what it imports.
const SERVICE: &str = "mintmark:plugin/service@0.1.";

const DESCRIPTORS_BYTES_MAX: usize = 1 << 20;

/// What the Rust toolchain makes is two or three deep, with one big and a few tiny modules.
const DEPTH_MAX: usize = 4;
const MODULES_MAX: u32 = 16;
const COMPONENTS_MAX: u32 = 16;
const INSTANCES_MAX: u32 = 256;

/// What bounds a compiler's work besides the file's size.
const FUNCTIONS_MAX: u32 = 50_000;
const FUNCTION_BYTES_MAX: usize = 1 << 20;
const LOCALS_MAX: u32 = 20_000;
const ENTRIES_MAX: u32 = 20_000;
const SECTION_BYTES_MAX: usize = 2 << 20;

/// What was found.
pub(super) struct Found<'a> {
    pub(super) manifest: &'a [u8],
    pub(super) descriptors: &'a [u8],
    pub(super) imports: Vec<String>,
}

/// Reads every section header, and of the contents what it looks for.
pub(super) fn scan(bytes: &[u8]) -> Result<Found<'_>, Error> {
    if !Parser::is_component(bytes) {
        return Err(Error::NotAComponent);
    }
    let mut scan = Scan::default();
    for payload in Parser::new(0).parse_all(bytes) {
        scan.section(payload.map_err(|_| Error::Malformed)?)?;
    }
    if scan.depth != 0 {
        return Err(Error::Malformed);
    }
    if !scan.serves {
        return Err(Error::ExportMissing);
    }
    Ok(Found {
        manifest: scan.manifest.ok_or(Error::SectionMissing(MANIFEST))?,
        descriptors: scan.descriptors.ok_or(Error::SectionMissing(DESCRIPTORS))?,
        imports: scan.imports,
    })
}

#[derive(Default)]
struct Scan<'a> {
    /// How many components and modules are open.
    depth: usize,
    modules: u32,
    components: u32,
    instances: u32,
    functions: u32,
    entries: u32,
    manifest: Option<&'a [u8]>,
    descriptors: Option<&'a [u8]>,
    imports: Vec<String>,
    /// Whether the contract's export was seen.
    serves: bool,
}

impl<'a> Scan<'a> {
    fn section(&mut self, payload: Payload<'a>) -> Result<(), Error> {
        match payload {
            Payload::Version { encoding, .. } => self.open(encoding),
            Payload::End(_) => {
                self.depth = self.depth.checked_sub(1).ok_or(Error::Malformed)?;
                Ok(())
            }
            Payload::CustomSection(section) => self.custom(&section),
            Payload::ComponentImportSection(section) if self.depth == 1 => self.imports(section),
            Payload::ComponentExportSection(section) if self.depth == 1 => self.exports(section),
            Payload::CodeSectionEntry(body) => self.function(&body),
            Payload::InstanceSection(section) => self.add_instances(section.count()),
            Payload::ComponentInstanceSection(section) => self.add_instances(section.count()),
            Payload::UnknownSection { .. } => Err(Error::Malformed),
            other => self.other(&other),
        }
    }

    fn open(&mut self, encoding: Encoding) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::Excess("nested components"));
        }
        match encoding {
            Encoding::Module => count(&mut self.modules, 1, MODULES_MAX, "modules"),
            Encoding::Component => count(&mut self.components, 1, COMPONENTS_MAX, "components"),
        }
    }

    fn custom(&mut self, section: &CustomSectionReader<'a>) -> Result<(), Error> {
        let (slot, name, bytes_max) = match section.name() {
            MANIFEST => (&mut self.manifest, MANIFEST, MANIFEST_BYTES_MAX),
            DESCRIPTORS => (&mut self.descriptors, DESCRIPTORS, DESCRIPTORS_BYTES_MAX),
            _ => return Ok(()),
        };
        if section.data().len() > bytes_max {
            return Err(Error::Excess("bytes in a custom section"));
        }
        match slot.replace(section.data()) {
            Some(_) => Err(Error::SectionTwice(name)),
            None => Ok(()),
        }
    }

    fn imports(&mut self, section: ComponentImportSectionReader<'a>) -> Result<(), Error> {
        count(&mut self.entries, section.count(), ENTRIES_MAX, "imports")?;
        for import in section {
            let import = import.map_err(|_| Error::Malformed)?;
            // Attributes by which a name could mean something else than it says.
            let ComponentExternName { name, implements, version_suffix, external_id } = import.name;
            if implements.is_some() || version_suffix.is_some() || external_id.is_some() {
                return Err(Error::ImportForbidden(foreign(name)));
            }
            self.imports.push(name.to_owned());
        }
        Ok(())
    }

    fn exports(&mut self, section: ComponentExportSectionReader<'a>) -> Result<(), Error> {
        count(&mut self.entries, section.count(), ENTRIES_MAX, "exports")?;
        for export in section {
            let export = export.map_err(|_| Error::Malformed)?;
            self.serves |= export.name.name.starts_with(SERVICE);
        }
        Ok(())
    }

    fn function(&mut self, body: &FunctionBody<'a>) -> Result<(), Error> {
        count(&mut self.functions, 1, FUNCTIONS_MAX, "functions")?;
        if body.range().len() > FUNCTION_BYTES_MAX {
            return Err(Error::Excess("functions"));
        }
        let mut locals = 0u32;
        for local in body.get_locals_reader().map_err(|_| Error::Malformed)? {
            let (count, _) = local.map_err(|_| Error::Malformed)?;
            locals = locals.saturating_add(count);
        }
        if locals > LOCALS_MAX {
            return Err(Error::Excess("local variables"));
        }
        Ok(())
    }

    fn add_instances(&mut self, more: u32) -> Result<(), Error> {
        count(&mut self.instances, more, INSTANCES_MAX, "instances")
    }

    /// Sections that a compiler walks through: bounded in bytes, and their entries in number.
    fn other(&mut self, payload: &Payload<'a>) -> Result<(), Error> {
        let (entries, range) = match payload {
            Payload::TypeSection(section) => (section.count(), section.range()),
            Payload::ImportSection(section) => (section.count(), section.range()),
            Payload::TableSection(section) => (section.count(), section.range()),
            Payload::MemorySection(section) => (section.count(), section.range()),
            Payload::GlobalSection(section) => (section.count(), section.range()),
            Payload::ExportSection(section) => (section.count(), section.range()),
            Payload::ElementSection(section) => (section.count(), section.range()),
            Payload::CoreTypeSection(section) => (section.count(), section.range()),
            Payload::ComponentAliasSection(section) => (section.count(), section.range()),
            Payload::ComponentTypeSection(section) => (section.count(), section.range()),
            Payload::ComponentCanonicalSection(section) => (section.count(), section.range()),
            Payload::ComponentImportSection(section) => (section.count(), section.range()),
            Payload::ComponentExportSection(section) => (section.count(), section.range()),
            // Segments are copied, not compiled: bounded by the file.
            Payload::DataSection(section) => (section.count(), 0..0),
            _ => return Ok(()),
        };
        if range.len() > SECTION_BYTES_MAX {
            return Err(Error::Excess("bytes in a section"));
        }
        count(&mut self.entries, entries, ENTRIES_MAX, "entries of sections")
    }
}

fn count(sum: &mut u32, more: u32, max: u32, what: &'static str) -> Result<(), Error> {
    *sum = sum.saturating_add(more);
    if *sum > max { Err(Error::Excess(what)) } else { Ok(()) }
}
