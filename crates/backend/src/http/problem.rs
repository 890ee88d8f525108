//! Errors as `application/problem+json` (RFC 9457), and extractors that produce them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::StoreError;

/// `Retry-After` in seconds when the store is unavailable.
const STORE_RETRY_AFTER_S: u64 = 5;

/// Type of a problem that the status alone defines.
const BLANK: &str = "about:blank";

/// An error response.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// `about:blank`: the status defines the type (RFC 9457 §4.2.1); or an exception of EPCIS.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "serialize_status")]
    status: StatusCode,
    /// Reason for programs, where one status has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: Box<[FieldError]>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An error in one field of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Location: a JSON Pointer, a line, or a parameter.
    pub place: String,
    /// The invalid value.
    pub value: String,
    /// The valid values.
    pub remedy: String,
}

fn serialize_status<S: serde::Serializer>(status: &StatusCode, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u16(status.as_u16())
}

impl Problem {
    /// Creates a problem. `detail` names place, value and remedy, and reveals nothing that the
    /// client did not send.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: BLANK,
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            code: None,
            detail: detail.into(),
            errors: Box::default(),
            headers: Vec::new(),
        }
    }

    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 429 with `Retry-After` in seconds.
    #[must_use]
    pub fn too_many(retry_after_s: u64) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests; wait for Retry-After, then try again",
        )
        .retry_after(retry_after_s)
    }

    /// 503 with `Retry-After` in seconds.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after_s)
    }

    /// Adds the errors of single fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors.into_boxed_slice();
        self
    }

    /// Adds the reason for programs.
    #[must_use]
    pub const fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the type.
    #[must_use]
    pub const fn with_type(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// Whether a type was set.
    #[must_use]
    pub fn has_type(&self) -> bool {
        self.kind != BLANK
    }

    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    fn retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, seconds.max(1).into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers.clone());
        // A middleware may complete the problem.
        response.extensions_mut().insert(self);
        response
    }
}

/// Database errors go only to the log: they may quote stored data.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Conflict(_) => {
                Self::unavailable("the store is unavailable", STORE_RETRY_AFTER_S)
            }
            StoreError::Open { .. } | StoreError::Rejected(_) => {
                tracing::error!("store rejected a statement of a request");
                tracing::debug!(%error, "store error");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "")
            }
        }
    }
}

/// Extractor of a JSON body; rejects with a [`Problem`].
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers().get(header::CONTENT_TYPE)) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type: use application/json",
            ));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| body_rejection(&rejection))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("invalid document: {error}")))
    }
}

fn body_rejection(rejection: &BytesRejection) -> Problem {
    Problem::new(rejection.status(), rejection.body_text())
}

/// Cross-origin forms can send only three content types without a preflight, none of which is
/// accepted here.
fn is_json(value: Option<&HeaderValue>) -> bool {
    let essence =
        value.and_then(|value| value.to_str().ok()).and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim().to_ascii_lowercase();
        essence == "application/json"
            || essence.starts_with("application/") && essence.ends_with("+json")
    })
}

/// Extractor of query parameters; rejects with a [`Problem`].
#[derive(Clone, Copy, Debug)]
pub struct QueryParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|rejection: QueryRejection| {
            Problem::new(rejection.status(), rejection.body_text())
        })
    }
}
