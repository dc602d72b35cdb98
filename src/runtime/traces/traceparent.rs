//! The header `traceparent` of the W3C, by which a caller says to which of its spans a request belongs.
//!
//! Anybody may send it. So it is taken only if it is exactly as the specification writes it. Otherwise the request
//! would get ids that its caller never had.

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The length of a value of version 0. Later versions begin in the same way.
const LENGTH: usize = 55;

/// The version that no value may have.
const NO_VERSION: u128 = 0xff;

/// The span of the caller. `None` if there is no such header, if there are several, or if it is malformed.
///
/// The header `tracestate` is not read. It is for spans that this server would begin elsewhere, and it begins none. A
/// stranger could fill the queue with it.
pub(super) fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    parse(value.to_str().ok()?)
}

fn parse(value: &str) -> Option<SpanContext> {
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let mut fields = known.split('-');
    let version = number(fields.next()?, 2)?;
    let trace = number(fields.next()?, 32)?;
    let span = u64::try_from(number(fields.next()?, 16)?).ok()?;
    let flags = u8::try_from(number(fields.next()?, 2)?).ok()?;
    let is_whole = rest.is_empty() || version > 0 && rest.starts_with('-');
    if version == NO_VERSION || !is_whole {
        return None;
    }
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    let context = SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// The number that has exactly so many hexadecimal digits, without upper case.
fn number(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    is_number.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(values: &[&str]) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers.append("tracestate", HeaderValue::from_static("congo=t61rcWkgMzE"));
        caller(&headers)
    }

    #[test]
    fn the_ids_and_the_decision_of_a_caller_are_taken_and_nothing_else() {
        for (value, is_sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-fe"), false),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            // Versions that do not exist yet.
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be"), true),
        ] {
            let context = of(&[&value]).unwrap_or_else(|| panic!("{value}"));
            assert_eq!((context.trace_id().to_string(), context.span_id().to_string()), (TRACE.into(), SPAN.into()));
            assert_eq!((context.is_sampled(), context.is_remote()), (is_sampled, true), "{value}");
            assert!(context.trace_flags().to_u8() < 2, "{value}");
            assert_eq!(context.trace_state(), &TraceState::NONE, "{value}");
        }
    }

    #[test]
    fn a_value_that_is_not_as_the_specification_writes_it_is_left_out() {
        assert_eq!(of(&[]), None);
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(of(&[&good, &good]), None);
        let long = format!("{good}{}", "0".repeat(10_000));
        for bad in [
            String::new(),
            "00".to_owned(),
            "0".repeat(LENGTH),
            "-".repeat(LENGTH),
            long,
            format!("{good}-"),
            format!("{good}-more"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!(" {good}"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00-{}g-{SPAN}-01", &TRACE[1..]),
            format!("00-{}-{SPAN}ff-01", &TRACE[2..]),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{}\u{e4}-{SPAN}-01", &TRACE[2..]),
        ] {
            assert_eq!(of(&[&bad]), None, "{bad:?}");
        }
    }
}
