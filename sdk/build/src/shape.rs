//! Writes what a request may consist of, for the SDK's strict check.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// Every message and enum of the proto files, by its full name with the leading dot.
#[derive(Default)]
pub(crate) struct Messages {
    fields: BTreeMap<String, Vec<FieldDescriptorProto>>,
    enums: BTreeMap<String, Vec<i32>>,
}

impl Messages {
    pub(crate) fn of(descriptors: &FileDescriptorSet) -> Self {
        let mut all = Self::default();
        for file in &descriptors.file {
            let scope = match file.package() {
                "" => String::new(),
                package => format!(".{package}"),
            };
            file.enum_type.iter().for_each(|one| all.add_enum(&scope, one));
            file.message_type.iter().for_each(|one| all.add_message(&scope, one));
        }
        all
    }

    fn add_enum(&mut self, scope: &str, one: &EnumDescriptorProto) {
        let mut values: Vec<i32> = one.value.iter().map(|value| value.number()).collect();
        values.sort_unstable();
        values.dedup();
        self.enums.insert(format!("{scope}.{}", one.name()), values);
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        message.enum_type.iter().for_each(|one| self.add_enum(&name, one));
        message.nested_type.iter().for_each(|one| self.add_message(&name, one));
        let mut fields = message.field.clone();
        fields.sort_by_key(FieldDescriptorProto::number);
        self.fields.insert(name, fields);
    }

    /// The names of `roots` and of every message that they can contain.
    pub(crate) fn reachable<'a>(
        &'a self,
        roots: impl Iterator<Item = &'a str>,
    ) -> BTreeSet<&'a str> {
        let mut waiting: Vec<&str> = roots.collect();
        let mut reached = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if reached.insert(name) {
                let fields = self.fields.get(name).into_iter().flatten();
                let inner = fields.filter(|field| field.r#type() == Type::Message);
                waiting.extend(inner.map(FieldDescriptorProto::type_name));
            }
        }
        reached
    }

    /// The name of a message's constant: by its place, since names that differ in a dot or in case
    /// alone must stay apart.
    pub(crate) fn constant_name(&self, message: &str) -> String {
        format!("MESSAGE_{}", self.fields.keys().take_while(|name| *name != message).count())
    }

    /// Writes the constant for one message.
    pub(crate) fn write(&self, message: &str, buffer: &mut String) {
        let name = self.constant_name(message);
        let full_name = message.trim_start_matches('.');
        buffer.push_str(&format!(
            "/// `{full_name}`\npub(super) static {name}: Shape = Shape {{ fields: &[\n"
        ));
        for field in self.fields.get(message).into_iter().flatten() {
            buffer.push_str(&format!(
                "Field {{ number: {number}, repeated: {repeated}, oneof: {oneof:?}, \
                 kind: {kind} }},\n",
                number = field.number(),
                repeated = field.label() == Label::Repeated,
                oneof = field.oneof_index.filter(|_| !field.proto3_optional()),
                kind = self.kind(field),
            ));
        }
        buffer.push_str("] };\n");
    }

    fn kind(&self, field: &FieldDescriptorProto) -> String {
        match field.r#type() {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => "Kind::Fixed64".to_owned(),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => "Kind::Fixed32".to_owned(),
            Type::String | Type::Bytes => "Kind::Bytes".to_owned(),
            Type::Message => format!("Kind::Message(&{})", self.constant_name(field.type_name())),
            Type::Enum => {
                let values = self.enums.get(field.type_name()).map_or(&[][..], Vec::as_slice);
                format!("Kind::Enum(&{values:?})")
            }
            Type::Int64
            | Type::Uint64
            | Type::Int32
            | Type::Bool
            | Type::Uint32
            | Type::Sint32
            | Type::Sint64 => "Kind::Varint".to_owned(),
            // Deprecated since proto2; prost has no such fields either.
            Type::Group => "Kind::Refused".to_owned(),
        }
    }
}
