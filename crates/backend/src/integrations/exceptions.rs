//! Exceptions of EPCIS 2.0 (§8.2.6, §12.4) as types of problems.

use axum::http::StatusCode;

use crate::http::Problem;

/// An exception of EPCIS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exception {
    Validation,
    QueryParameter,
    QueryTooLarge,
    QueryTooComplex,
    CaptureLimitExceeded,
    SubscriptionControls,
    SubscribeNotPermitted,
    NoSuchName,
    NoSuchResource,
    ResourceAlreadyExists,
    Security,
    NotAcceptable,
    UnsupportedMediaType,
    Implementation,
}

impl Exception {
    /// The type of the problem.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "epcisException:ValidationException",
            Self::QueryParameter => "epcisException:QueryParameterException",
            Self::QueryTooLarge => "epcisException:QueryTooLargeException",
            Self::QueryTooComplex => "epcisException:QueryTooComplexException",
            Self::CaptureLimitExceeded => "epcisException:CaptureLimitExceededException",
            Self::SubscriptionControls => "epcisException:SubscriptionControlsException",
            Self::SubscribeNotPermitted => "epcisException:SubscribeNotPermittedException",
            Self::NoSuchName => "epcisException:NoSuchNameException",
            Self::NoSuchResource => "epcisException:NoSuchResourceException",
            Self::ResourceAlreadyExists => "epcisException:ResourceAlreadyExistsException",
            Self::Security => "epcisException:SecurityException",
            Self::NotAcceptable => "epcisException:NotAcceptableException",
            Self::UnsupportedMediaType => "epcisException:UnsupportedMediaTypeException",
            Self::Implementation => "epcisException:ImplementationException",
        }
    }

    /// The exception of a status whose handler names none.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Security,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
                Self::NoSuchResource
            }
            StatusCode::NOT_ACCEPTABLE => Self::NotAcceptable,
            StatusCode::CONFLICT => Self::ResourceAlreadyExists,
            StatusCode::PAYLOAD_TOO_LARGE => Self::CaptureLimitExceeded,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::TOO_MANY_REQUESTS => Self::QueryTooComplex,
            status if status.is_server_error() => Self::Implementation,
            _ => Self::Validation,
        }
    }
}

/// Gives a problem the type of an exception.
pub(super) trait OfException {
    fn of(self, exception: Exception) -> Self;
}

impl OfException for Problem {
    fn of(self, exception: Exception) -> Self {
        self.with_type(exception.as_str())
    }
}
