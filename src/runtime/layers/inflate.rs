//! Decodes the content coding of request bodies.
//!
//! A decoder can hold far more memory than its input has bytes: a few bytes of brotli ask for a window of 16 MiB. So a
//! body is decoded only after the whole body was received, and no decoder waits for a client.
//!
//! The layer of tower-http reads only the first member of a gzip body and ignores the rest. It also compares the names
//! of codings with their case. This layer uses the same decoders without these faults.

use std::io::{self, Cursor};
use std::mem;
use std::sync::Arc;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::stream::{TryStreamExt as _, once, try_unfold};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::task::consume_budget;

use crate::limits::runtime::{
    BODY_MAX_MEMBERS, DECODER_MAX_BYTES, INFLATED_FREE_BYTES, INFLATED_PER_BYTE_MAX_BYTES, SMALL_DECODER_MAX_BYTES,
    ZSTD_WINDOW_MAX_BITS,
};
use crate::runtime::memory::{Account, Loan};

/// The supported codings, as a 415 names them.
const KNOWN_CODINGS: &str = "zstd,gzip,deflate,br";

/// How many bytes are decoded at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// Lets a body be decoded, and limits the size of the result.
pub(super) fn inflate(request: &mut Request, max_bytes: usize) -> Result<(), Unknown> {
    let coding = coding(request.headers())?;
    let mut body = mem::take(request.body_mut());
    if let Some(coding) = coding {
        request.headers_mut().remove(CONTENT_ENCODING);
        request.headers_mut().remove(CONTENT_LENGTH);
        let account = request.extensions().get::<Arc<Account>>().cloned();
        body = inflated(coding, body, account);
    }
    *request.body_mut() = Body::new(Limited::new(body, max_bytes));
    Ok(())
}

/// The coding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// The coding is unknown, or the body has several.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

impl IntoResponse for Unknown {
    fn into_response(self) -> Response {
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, [(ACCEPT_ENCODING, KNOWN_CODINGS)]).into_response()
    }
}

/// The coding in the headers, if there is one.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Unknown> {
    let mut found = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().map_err(|_| Unknown)?.split(',') {
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return Err(Unknown),
            };
            if found.replace(coding).is_some() {
                return Err(Unknown);
            }
        }
    }
    Ok(found)
}

/// The part of the body that is still encoded.
type Source = Cursor<Bytes>;

/// A member of a body. Each member is decoded separately.
enum Member {
    Gzip(GzipDecoder<Source>),
    Deflate(ZlibDecoder<Source>),
    Brotli(BrotliDecoder<Source>),
    Zstd(ZstdDecoder<Source>),
}

impl Member {
    fn new(coding: Coding, source: Source) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(GzipDecoder::new(source)),
            Coding::Deflate => Self::Deflate(ZlibDecoder::new(source)),
            Coding::Brotli => Self::Brotli(BrotliDecoder::new(source)),
            Coding::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_MAX_BITS);
                Self::Zstd(ZstdDecoder::with_params(source, &[window]))
            }
        }
    }

    /// Decodes the next bytes. They are empty at the end.
    async fn read(&mut self) -> io::Result<Bytes> {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        match self {
            Self::Gzip(decoder) => decoder.read_buf(&mut chunk).await,
            Self::Deflate(decoder) => decoder.read_buf(&mut chunk).await,
            Self::Brotli(decoder) => decoder.read_buf(&mut chunk).await,
            Self::Zstd(decoder) => decoder.read_buf(&mut chunk).await,
        }?;
        Ok(chunk.freeze())
    }

    /// The rest of the body after this member.
    fn into_source(self) -> Source {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Deflate(decoder) => decoder.into_inner(),
            Self::Brotli(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
        }
    }
}

/// A body during its decoding.
struct Inflating {
    coding: Coding,
    member: Member,
    further_members: usize,
    account: Option<Arc<Account>>,
    /// The memory of the decoder.
    _window: Option<Loan>,
}

impl Inflating {
    async fn begin(coding: Coding, encoded: Bytes, account: Option<Arc<Account>>) -> Result<Self, BoxError> {
        let window = match &account {
            Some(account) => Some(account.lend(coding.decoder_max_bytes()).await?),
            None => None,
        };
        let member = Member::new(coding, Cursor::new(encoded));
        Ok(Self { coding, member, further_members: 0, account, _window: window })
    }

    /// The next part of the body and the rest of it, or `None` at the end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, BoxError> {
        loop {
            // A large body must not block other work on this thread.
            consume_budget().await;
            let chunk = self.member.read().await?;
            if !chunk.is_empty() {
                if let Some(account) = &self.account {
                    account.take(chunk.len()).await?;
                }
                return Ok(Some((chunk, self)));
            }
            let mut source = self.member.into_source();
            if source.fill_buf().await?.is_empty() {
                return Ok(None);
            }
            self.further_members += 1;
            self.coding.check_further(self.further_members)?;
            self.member = Member::new(self.coding, source);
        }
    }
}

impl Coding {
    /// The greatest memory of a decoder, in bytes.
    fn decoder_max_bytes(self) -> usize {
        match self {
            Self::Gzip | Self::Deflate => SMALL_DECODER_MAX_BYTES,
            Self::Brotli | Self::Zstd => DECODER_MAX_BYTES,
        }
    }

    /// Checks whether a body may have so many members after its first one (RFC 1952, section 2.2, and RFC 8878, section
    /// 3).
    fn check_further(self, members: usize) -> io::Result<()> {
        let problem = match self {
            Self::Deflate | Self::Brotli => "there is more behind the end of the encoded data".to_owned(),
            Self::Gzip | Self::Zstd if members < BODY_MAX_MEMBERS => return Ok(()),
            Self::Gzip | Self::Zstd => format!("the encoded data has more than {BODY_MAX_MEMBERS} members"),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    }
}

fn inflated(coding: Coding, body: Body, account: Option<Arc<Account>>) -> Body {
    let inflating = async move {
        let encoded = whole(body).await?;
        let max_bytes = encoded.len().saturating_mul(INFLATED_PER_BYTE_MAX_BYTES).max(INFLATED_FREE_BYTES);
        let beginning = Inflating::begin(coding, encoded, account).await?;
        let body = Body::from_stream(try_unfold(beginning, Inflating::next));
        Ok::<_, BoxError>(Limited::new(body, max_bytes).into_data_stream())
    };
    Body::from_stream(once(inflating).try_flatten())
}

/// The body as it was sent, in one piece, because each small piece would hold a buffer of the connection.
async fn whole(mut body: Body) -> Result<Bytes, axum::Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_coding_is_known_by_its_name_in_upper_and_lower_case() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            coding(&headers)
        };
        for (values, expected) in [
            (&[][..], None),
            (&["identity"], None),
            (&["Identity, IDENTITY"], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["GZip"], Some(Coding::Gzip)),
            (&["X-Gzip"], Some(Coding::Gzip)),
            (&["Deflate"], Some(Coding::Deflate)),
            (&["BR"], Some(Coding::Brotli)),
            (&[" ZSTD "], Some(Coding::Zstd)),
            (&["identity", "gzip"], Some(Coding::Gzip)),
        ] {
            assert_eq!(of(values), Ok(expected), "{values:?}");
        }
        for values in [&["rot13"][..], &[""], &["gzip, gzip"], &["gzip", "gzip"], &["gzip, br"], &["gzip;q=1"]] {
            assert_eq!(of(values), Err(Unknown), "{values:?}");
        }
    }
}
