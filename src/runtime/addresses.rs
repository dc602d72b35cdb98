//! The address from which a request comes.
#![cfg_attr(not(feature = "local"), expect(dead_code, reason = "only the local server knows the peers of connections"))]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;

use crate::config::TrustedProxies;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The number of leading bits in an IPv6 address that are usually the same for all machines of one customer.
const IPV6_NETWORK_BITS: u32 = 64;

/// The addresses from which a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The other end of the connection.
    pub(super) peer: IpAddr,
    /// The sender of the request, if the peer is a trusted proxy, or else the peer.
    pub(super) client: IpAddr,
}

impl Addresses {
    /// Reads the headers of proxies, as far as a trusted proxy has written them.
    pub(super) fn new(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        let peer = peer.to_canonical();
        let client = if proxies.contains(peer) { client(headers, proxies) } else { None };
        Self { peer, client: client.unwrap_or(peer) }
    }
}

/// The network whose addresses are treated as one client.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (u128::BITS - IPV6_NETWORK_BITS))).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// The last address on the way that does not belong to a trusted proxy. A proxy may know one of the two headers and
/// pass on the other one as the client wrote it. So if they differ, neither is used.
fn client(headers: &HeaderMap, proxies: &TrustedProxies) -> Option<IpAddr> {
    let listed = parts_from_the_end(headers, X_FORWARDED_FOR).map(address);
    let named = parts_from_the_end(headers, FORWARDED.as_str()).map(forwarded_for);
    match (last_untrusted(listed, proxies), last_untrusted(named, proxies)) {
        (Some(one), Some(other)) => (one == other).then_some(one),
        (one, other) => one.or(other),
    }
}

fn parts_from_the_end<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().rev();
    values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','))
}

/// If an address cannot be read, nothing before it is trusted.
fn last_untrusted(mut hops: impl Iterator<Item = Option<IpAddr>>, proxies: &TrustedProxies) -> Option<IpAddr> {
    let mut last = None;
    while let Some(Some(hop)) = hops.next() {
        last = Some(hop);
        if !proxies.contains(hop) {
            break;
        }
    }
    last
}

/// An address, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// The address in an element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let proxies = TrustedProxies::parse("127.0.0.1,10.0.0.0/8").unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Addresses::new(peer.parse().unwrap(), &map, &proxies).client.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_its_client_is() {
        let header = [("x-forwarded-for", "1.2.3.4")];
        assert_eq!(client_of("127.0.0.1", &header), "1.2.3.4");
        assert_eq!(client_of("::ffff:127.0.0.1", &header), "1.2.3.4");
        assert_eq!(client_of("9.9.9.9", &header), "9.9.9.9");
        assert_eq!(client_of("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_stands_in_front_of_the_last_untrusted_address_is_not_believed() {
        for (value, expected) in [
            ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
            ("10.0.0.9, 10.0.0.7", "10.0.0.9"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("1.2.3.4, unknown", "127.0.0.1"),
            ("1.2.3.4, nonsense, 10.0.0.7", "10.0.0.7"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(client_of("127.0.0.1", &[("x-forwarded-for", value)]), expected, "{value}");
        }
        let twice = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")];
        assert_eq!(client_of("127.0.0.1", &twice), "1.2.3.4");
    }

    #[test]
    fn the_standard_header_is_read_too_and_two_that_differ_are_not_believed() {
        let of = |value| client_of("127.0.0.1", &[("forwarded", value)]);
        assert_eq!(of("for=6.6.6.6, For=\"1.2.3.4:99\";proto=https"), "1.2.3.4");
        assert_eq!(of("proto=https;for=\"[2001:db8::1]:1\""), "2001:db8::1");
        assert_eq!(of("for=_hidden"), "127.0.0.1");
        let both = |other| client_of("127.0.0.1", &[("x-forwarded-for", "1.2.3.4"), ("forwarded", other)]);
        assert_eq!(both("for=1.2.3.4"), "1.2.3.4");
        assert_eq!(both("for=6.6.6.6"), "127.0.0.1");
    }
}
