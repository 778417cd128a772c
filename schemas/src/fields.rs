//! Records whose fields are declared once: the struct, its encoder and its decoder are one list.
//!
//! [`record!`] suits a record of many fields. The order of the list is the order of the schema;
//! golden bytes and the reference implementation hold it to the `.avsc` file.

use crate::avro::{self, Malformed, Reader};
use crate::{Decimal, Timestamp};

/// A value that a field of a record may have.
pub(crate) trait Field: Sized {
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads its bytes.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

impl Field for Decimal {
    fn write(&self, out: &mut Vec<u8>) {
        avro::decimal(out, *self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.decimal()
    }
}

impl Field for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        avro::long(out, self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.long().map(Self)
    }
}

impl Field for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        avro::long(out, *self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.long()
    }
}

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        avro::boolean(out, *self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.boolean()
    }
}

impl Field for String {
    fn write(&self, out: &mut Vec<u8>) {
        avro::string(out, self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.string().map(str::to_owned)
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        avro::optional(out, self.as_ref(), |out, value| value.write(out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.optional(T::read)
    }
}

/// Lets a [`named!`](crate::named) enum be a field: a string on the wire.
macro_rules! named_field {
    ($Named:ident) => {
        impl $crate::fields::Field for $Named {
            fn write(&self, out: &mut Vec<u8>) {
                $crate::avro::string(out, self.as_str());
            }

            fn read(
                reader: &mut $crate::avro::Reader<'_>,
            ) -> Result<Self, $crate::avro::Malformed> {
                reader.named(Self::parse)
            }
        }
    };
}
pub(crate) use named_field;

/// Declares a record of the schema of its name, its fields in the schema's order.
macro_rules! record {
    (
        $(#[$of_record:meta])*
        pub struct $Record:ident {
            $($(#[$of_field:meta])* pub $field:ident: $Type:ty,)+
        }
    ) => {
        $(#[$of_record])*
        pub struct $Record {
            $($(#[$of_field])* pub $field: $Type,)+
        }

        impl $crate::avro::Record for $Record {
            const KIND: $crate::Kind = $crate::Kind::$Record;

            fn write(&self, out: &mut Vec<u8>) {
                $($crate::fields::Field::write(&self.$field, out);)+
            }

            fn read(
                reader: &mut $crate::avro::Reader<'_>,
            ) -> Result<Self, $crate::avro::Malformed> {
                // The fields of a struct expression are read in the order in which they stand.
                Ok(Self { $($field: $crate::fields::Field::read(reader)?,)+ })
            }
        }
    };
}
pub(crate) use record;

/// Copies fields of the same name from one record to another.
macro_rules! copy_fields {
    ($from:expr => $to:expr; $($field:ident)+) => {
        $($to.$field.clone_from(&$from.$field);)+
    };
}
pub(crate) use copy_fields;

/// Copies the optional fields that the first record states; the others keep their values.
macro_rules! copy_stated {
    ($from:expr => $to:expr; $($field:ident)+) => {
        $(if $from.$field.is_some() {
            $to.$field.clone_from(&$from.$field);
        })+
    };
}
pub(crate) use copy_stated;
