//! Undoing the content coding of request bodies.
//!
//! tower-http's layer reads one member of a gzip body and ignores what comes behind it, and compares the names of codings
//! with their case. So this is one over the same decoders.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, try_unfold};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use http_body_util::Limited;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio_util::io::StreamReader;

use crate::core::limits::{BODY_MAX_MEMBERS, ZSTD_WINDOW_MAX_BITS};

/// What a body may be encoded with, as a 415 names it.
const KNOWN_CODINGS: &str = "zstd,gzip,deflate,br";

/// How much is inflated at a time, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// Undoes the content coding of a body, and limits what comes out.
pub(super) async fn inflate(State(max_bytes): State<usize>, request: Request, next: Next) -> Response {
    let Ok(coding) = coding(request.headers()) else {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, [(ACCEPT_ENCODING, KNOWN_CODINGS)]).into_response();
    };
    let (mut parts, body) = request.into_parts();
    let body = match coding {
        None => body,
        Some(coding) => {
            parts.headers.remove(CONTENT_ENCODING);
            parts.headers.remove(CONTENT_LENGTH);
            inflated(coding, body)
        }
    };
    next.run(Request::from_parts(parts, Body::new(Limited::new(body, max_bytes)))).await
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Nobody here knows how to undo the coding, or the body has several.
#[derive(Debug, PartialEq, Eq)]
struct Unknown;

/// The coding that the headers name, if there is one.
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

type Source = StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>;

/// A member of a body, which is inflated by itself.
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

    /// Inflates some of it; nothing at its end.
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

    /// What is left of the body behind it.
    fn into_source(self) -> Source {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Deflate(decoder) => decoder.into_inner(),
            Self::Brotli(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
        }
    }
}

/// A body that is being inflated.
struct Inflating {
    coding: Coding,
    member: Member,
    further_members: usize,
}

impl Inflating {
    /// The next piece of the body and the rest; nothing at its end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let chunk = self.member.read().await?;
            if !chunk.is_empty() {
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
    /// Whether a body may have so many members behind its first one (RFC 1952, section 2.2, and RFC 8878, section 3).
    fn check_further(self, members: usize) -> io::Result<()> {
        let problem = match self {
            Self::Deflate | Self::Brotli => "there is more behind the end of the encoded data".to_owned(),
            Self::Gzip | Self::Zstd if members < BODY_MAX_MEMBERS => return Ok(()),
            Self::Gzip | Self::Zstd => format!("the encoded data has more than {BODY_MAX_MEMBERS} members"),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    }
}

fn inflated(coding: Coding, body: Body) -> Body {
    let source = StreamReader::new(body.into_data_stream().map_err(io::Error::other).boxed());
    let beginning = Inflating { coding, member: Member::new(coding, source), further_members: 0 };
    Body::from_stream(try_unfold(beginning, Inflating::next))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_coding_is_known_by_its_name_in_any_case() {
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
