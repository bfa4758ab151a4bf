//! Decodes JSON with less code than `serde_json::from_str`, for programs that a browser downloads.
//!
//! serde compiles the decoder of a type anew for each deserializer that the type is read from. A type that is a message, a
//! part of one, and an answer to a request is compiled for serde_json's parser, for serde's buffer of an internally tagged
//! enum, and for both once more in its parts. [`decode`] reads every type from one deserializer, [`Json`], which calls only
//! those methods of a visitor that JSON needs. [`tagged!`](crate::tagged) decodes an enum by its tag, without the buffer.

use std::{fmt::Display, vec};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, Expected, MapAccess,
        SeqAccess, Unexpected, VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Number, Value, map};

/// Decodes a text as `serde_json::from_str` does, into a type that borrows nothing. It differs in two points: of a field that
/// is there twice, the last value counts; and a struct is never an array.
///
/// # Errors
///
/// If the text is not JSON, or not of this type. Only the error of a text that is not JSON names a line and a column.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let value = serde_json::from_str(text).map_err(Error::custom)?;
    T::deserialize(Json(value))
}

/// Why a text could not be decoded. It names the type of a value that was not expected, and not the value: to write any
/// number takes more code than to decode it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        Self(format!(
            "invalid type: {}, expected {expected}",
            name_of(found)
        ))
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self(format!(
            "invalid value: {}, expected {expected}",
            name_of(found)
        ))
    }
}

fn name_of(found: Unexpected) -> &'static str {
    match found {
        Unexpected::Unit => "null",
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) => "an integer",
        Unexpected::Signed(_) => "a negative integer",
        Unexpected::Float(_) => "a floating-point number",
        Unexpected::Str(_) | Unexpected::Char(_) => "a string",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        _ => "another value",
    }
}

/// A deserializer of a JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub Value);

/// Declares an internally tagged enum that is decoded by its tag first: as `#[derive(Deserialize)]` would, with less code.
///
/// The enum derives `Serialize` and `VariantNames`, and not `Deserialize`. Its tag is `type`; the variants' names are those of
/// `VariantNames`. The variants may be units, hold one value that is decoded from the other fields, or have fields, with
/// serde's attributes.
///
/// ```
/// use realtime::{json, strum::VariantNames, tagged};
///
/// tagged! {
///     #[derive(Debug, PartialEq, serde::Serialize, VariantNames)]
///     #[serde(tag = "type", rename_all = "snake_case")]
///     #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
///     pub enum Weather {
///         Calm,
///         Wind { speed: f64 },
///     }
/// }
///
/// let wind: Weather = json::decode(r#"{"type":"wind","speed":3.5}"#)?;
/// assert_eq!(wind, Weather::Wind { speed: 3.5 });
/// # Ok::<(), json::Error>(())
/// ```
#[macro_export]
macro_rules! tagged {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident $(<$($parameter:ident $(= $default:ty)?),+>)? { $($variants:tt)* }
    ) => {
        $(#[$attribute])*
        $visibility enum $name $(<$($parameter $(= $default)?),+>)? { $($variants)* }

        impl<'de, $($($parameter: ::serde::Deserialize<'de>),+)?> ::serde::Deserialize<'de> for $name $(<$($parameter),+>)? {
            // As serde's derive names it: an enum may have a parameter `D`.
            fn deserialize<__D: ::serde::Deserializer<'de>>(
                deserializer: __D,
            ) -> ::core::result::Result<Self, __D::Error> {
                let names = <Self as $crate::strum::VariantNames>::VARIANTS;
                let (name, content) = $crate::json::by_tag(deserializer, names)?;
                let value = $crate::tagged!(@variants names name content [$($($parameter)+)?] $($variants)*);
                value.map_err(::serde::de::Error::custom)
            }
        }
    };
    (@variants $names:ident $name:ident $content:ident $parameter:tt $(
        $(#[$attribute:meta])* $variant:ident $(($type:ty))? $({ $($fields:tt)* })?
    ),* $(,)?) => {{
        let mut names = $names.iter();
        $(if names.next() == Some(&$name) {
            $crate::tagged!(@variant $variant $content $parameter $(($type))? $({ $($fields)* })?)
        } else)* {
            unreachable!("by_tag returns one of the names")
        }
    }};
    (@variant $variant:ident $content:ident $parameter:tt) => {{
        drop($content);
        ::core::result::Result::<Self, $crate::json::Error>::Ok(Self::$variant)
    }};
    (@variant $variant:ident $content:ident $parameter:tt ($type:ty)) => {
        <$type as ::serde::Deserialize>::deserialize($content).map(Self::$variant)
    };
    (@variant $variant:ident $content:ident [$($parameter:ident)*] {
        $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)?
    }) => {{
        #[derive(::serde::Deserialize)]
        struct Fields<$($parameter),*> {
            $($(#[$attribute])* $field: $type,)*
            // Not every variant has a field of each parameter's type.
            #[serde(skip)]
            _parameter: ::core::marker::PhantomData<($($parameter,)*)>,
        }
        <Fields<$($parameter),*> as ::serde::Deserialize>::deserialize($content)
            .map(|Fields { $($field,)* .. }| Self::$variant { $($field),* })
    }};
}

/// Which of `names` the tag is, and the other fields.
#[doc(hidden)]
pub fn by_tag<'de, D: Deserializer<'de>>(
    deserializer: D,
    names: &'static [&'static str],
) -> Result<(&'static str, Json), D::Error> {
    const TAG: &str = "type";
    let mut fields = Map::deserialize(deserializer)?;
    let tag = match fields.remove(TAG) {
        Some(Value::String(tag)) => tag,
        Some(other) => {
            return Err(D::Error::invalid_type(
                unexpected(&other),
                &"a tag, which is a string",
            ));
        }
        None => return Err(D::Error::missing_field(TAG)),
    };
    let name = names.iter().find(|name| **name == tag);
    let name = name.ok_or_else(|| D::Error::unknown_variant(&tag, names))?;
    Ok((name, Json(Value::Object(fields))))
}

/// What a value that is not of the expected type is called in an error.
fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Unexpected::Unsigned(value),
            (_, Some(value)) => Unexpected::Signed(value),
            _ => Unexpected::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

fn refused(value: &Value, expected: &dyn Expected) -> Error {
    Error::invalid_type(unexpected(value), expected)
}

fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Error> {
    match (number.as_u64(), number.as_i64()) {
        (Some(value), _) => visitor.visit_u64(value),
        (_, Some(value)) => visitor.visit_i64(value),
        _ => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
    }
}

fn visit_items<'de, V: Visitor<'de>>(items: Vec<Value>, visitor: V) -> Result<V::Value, Error> {
    let length = items.len();
    let mut items = Items(items.into_iter());
    let value = visitor.visit_seq(&mut items)?;
    match items.0.len() {
        0 => Ok(value),
        left => Err(Error::invalid_length(length, &Shorter(length - left))),
    }
}

/// The length that was expected where more items came.
struct Shorter(usize);

impl Expected for Shorter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "{} items", self.0)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self.0 {
                Value::Number(number) => visit_number(number, visitor),
                other => Err(refused(other, &visitor)),
            }
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                Value::String(text) => visitor.visit_string(text),
                other => Err(refused(&other, &visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Json {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => visit_number(&number, visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visit_items(items, visitor),
            Value::Object(entries) => visitor.visit_map(Entries::of(entries)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(value),
            other => Err(refused(&other, &visitor)),
        }
    }

    numbers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64);
    numbers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);
    numbers!(deserialize_f32 deserialize_f64);
    texts!(deserialize_char deserialize_str deserialize_string deserialize_identifier);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            other => Err(refused(&other, &visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visit_items(items, visitor),
            other => Err(refused(&other, &visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(entries) => visitor.visit_map(Entries::of(entries)),
            other => Err(refused(&other, &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(Variant(name, None)),
            Value::Object(entries) if entries.len() == 1 => {
                let mut entries = entries.into_iter();
                let (name, content) = entries.next().unwrap_or_default();
                visitor.visit_enum(Variant(name, Some(content)))
            }
            other => Err(refused(
                &other,
                &"a variant: a string, or an object with one entry",
            )),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf }
}

/// The items of an array.
struct Items(vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let item = self.0.next();
        item.map(|item| seed.deserialize(Json(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The entries of an object.
struct Entries {
    left: map::IntoIter,
    value: Value,
}

impl Entries {
    fn of(entries: Map<String, Value>) -> Self {
        Self {
            left: entries.into_iter(),
            value: Value::Null,
        }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.left.next() else {
            return Ok(None);
        };
        self.value = value;
        seed.deserialize(Key(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Json(self.value.take()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// The name of an object's entry. A number is one in quotes.
struct Key(String);

macro_rules! quoted_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(number) => visit_number(&number, visitor),
                Err(_) => visitor.visit_string(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0)
    }

    quoted_numbers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64);
    quoted_numbers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Variant(self.0, None))
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// A variant of an enum that is not tagged: its name, and its content if it has any.
struct Variant(String, Option<Value>);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content), Error> {
        let variant = seed.deserialize(Key(self.0))?;
        Ok((variant, Content(self.1)))
    }
}

struct Content(Option<Value>);

impl Content {
    fn json(self) -> Result<Json, Error> {
        let missing = || Error::custom("the variant has no content");
        self.0.map(Json).ok_or_else(missing)
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.0
            .map_or(Ok(()), |content| <()>::deserialize(Json(content)))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.json()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.json()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.json()?.deserialize_map(visitor)
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
