//! Conversion between [`Value`] and PostgreSQL's binary format, for the types that the tables use.

use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut};

use crate::store::sql::Value;

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *kind == Type::INT4 => i32::try_from(*value)?.to_sql(kind, out),
            Self::Int(value) => value.to_sql(kind, out),
            Self::Real(value) => value.to_sql(kind, out),
            Self::Text(value) if value.contains('\0') => value.replace('\0', "").to_sql(kind, out),
            Self::Text(value) => value.to_sql(kind, out),
            Self::Bytes(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::FLOAT8, Type::TEXT, Type::VARCHAR, Type::BYTEA]
            .contains(kind)
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(
        kind: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => Self::Int(bool::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(kind, raw)?),
            Type::BYTEA => Self::Bytes(Vec::from_sql(kind, raw)?),
            _ => Self::Text(String::from_sql(kind, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        Self::is_supported(kind)
    }
}

impl Value {
    pub(super) fn is_supported(kind: &Type) -> bool {
        *kind == Type::BOOL || <Self as ToSql>::accepts(kind)
    }

    pub(super) fn fits(&self, place: &Type) -> bool {
        match self {
            Self::Null => <Self as ToSql>::accepts(place),
            Self::Int(value) => {
                *place == Type::INT8 || *place == Type::INT4 && i32::try_from(*value).is_ok()
            }
            Self::Real(_) => *place == Type::FLOAT8,
            Self::Text(_) => [Type::TEXT, Type::VARCHAR].contains(place),
            Self::Bytes(_) => *place == Type::BYTEA,
        }
    }
}
