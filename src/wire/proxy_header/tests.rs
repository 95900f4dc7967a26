//! Headers of other proxies, and every breach of the format.

use proptest::prelude::*;

use super::*;

/// Headers that HAProxy 2.6.12 has written, in hexadecimal.
mod haproxy {
    pub(super) const V1: &str =
        "50524f58592054435034203132372e302e302e31203132372e302e302e312035363834322031373030310d0a";

    /// `proxy-v2-options unique-id,crc32c`
    pub(super) const V2_IPV4: &str = "0d0a0d0a000d0a515549540a211100257f0000017f000001e7e6426a030004875b070005000f544553542d373339332d3137303032";
    pub(super) const V2_IPV6: &str = "0d0a0d0a000d0a515549540a2121003d0000000000000000000000000000000100000000000000000000\
        000000000001b26c426a030004368c7a0405000f544553542d373339332d3137303032";

    /// `proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,unique-id,crc32c`, of a
    /// client with a certificate.
    pub(super) const V2_SSL: &str = "0d0a0d0a000d0a515549540a211100867f0000017f000001b690426b030004d2c44dea01000268320200\
        0c736974652e6578616d706c6505000f544553542d373339332d313730303320004a0700000000210007544c5376312e332200036164612500\
        054543323536240011656364 73612d776974682d534841323536230016544c535f4145535f3235365f47434d5f534841333834";
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn tcp(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::Client(Some(Endpoints::new(
        source.parse().unwrap(),
        destination.parse().unwrap(),
    )))
}

fn whole(header: ProxyHeader, bytes: &[u8]) -> Parsed {
    Parsed::Complete {
        header,
        consumed: bytes.len(),
    }
}

/// A header of version 2 with these bytes after the signature, the length among them.
fn v2(version: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE, &[version, family], &length, block].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

#[test]
fn the_headers_of_haproxy_are_read_as_it_means_them() {
    for (text, source, destination) in [
        (haproxy::V1, "127.0.0.1:56842", "127.0.0.1:17001"),
        (haproxy::V2_IPV4, "127.0.0.1:59366", "127.0.0.1:17002"),
        (haproxy::V2_IPV6, "[::1]:45676", "[::1]:17002"),
        (haproxy::V2_SSL, "127.0.0.1:46736", "127.0.0.1:17003"),
    ] {
        let bytes = unhex(text);
        assert_eq!(
            parse(&bytes),
            whole(tcp(source, destination), &bytes),
            "{text}"
        );
    }
}

#[test]
fn the_examples_of_the_specification_are_read_and_written() {
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    let ends = Endpoints::new(
        "192.168.0.1:56324".parse().unwrap(),
        "192.168.0.11:443".parse().unwrap(),
    );
    assert_eq!(
        parse(&[line, &b"GET / HTTP/1.1\r\n"[..]].concat()),
        whole(ProxyHeader::Client(Some(ends)), line)
    );
    assert_eq!(v1_line(Some(ends)), line);
    assert_eq!(v1_line(None), b"PROXY UNKNOWN\r\n");
    assert_eq!(
        V2Header::local(),
        unhex("0d0a0d0a000d0a515549540a 20 00 0000")
    );
    assert_eq!(
        V2Header::new(None).finish(false).unwrap(),
        unhex("0d0a0d0a000d0a515549540a 21 00 0000")
    );
    let v2 = unhex("0d0a0d0a000d0a515549540a 21 11 000c c0a80001 c0a8000b dc04 01bb");
    assert_eq!(V2Header::new(Some(ends)).finish(false).unwrap(), v2);
}

/// With the TLVs in its order, which is another one than ours, HAProxy and snigate write the same
/// bytes but the checksum.
#[test]
fn tlvs_are_written_as_haproxy_writes_them() {
    let ends = Endpoints::new(
        "127.0.0.1:46736".parse().unwrap(),
        "127.0.0.1:17003".parse().unwrap(),
    );
    let ssl = SslTlv {
        client: ClientFlags::Verified,
        version: "TLSv1.3",
        cipher: Some("TLS_AES_256_GCM_SHA384"),
        common_name: Some("ada"),
        certificate: None,
    };
    let header = V2Header::new(Some(ends))
        .alpn(b"h2")
        .authority("site.example")
        .unique_id("TEST-7393-17003");
    let ours = header.ssl(&ssl).finish(false).unwrap();
    let mut theirs = unhex(haproxy::V2_SSL);
    // Its checksum stands first; the algorithms of the certificate stand between the common name
    // and the cipher suite.
    theirs.drain(28..35);
    let algorithms = unhex("250005 4543323536 240011 65636473612d776974682d534841323536");
    let at = theirs
        .windows(algorithms.len())
        .position(|window| window == algorithms)
        .unwrap();
    theirs.drain(at..at + algorithms.len());
    let ssl = theirs
        .windows(3)
        .position(|window| window == [0x20, 0, 0x4a])
        .unwrap();
    theirs[ssl + 2] -= u8::try_from(algorithms.len()).unwrap();
    theirs[15] -= u8::try_from(7 + algorithms.len()).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn only_a_verified_certificate_has_the_result_zero() {
    for (client, flags, verify) in [
        (ClientFlags::NoCertificate, 1, 1),
        (ClientFlags::Unverified, 7, 1),
        (ClientFlags::Verified, 7, 0),
    ] {
        let ssl = SslTlv {
            client,
            version: "TLSv1.2",
            cipher: None,
            common_name: None,
            certificate: None,
        };
        let bytes = V2Header::new(None).ssl(&ssl).finish(false).unwrap();
        assert_eq!(
            bytes[16..24],
            [0x20, 0, 15, flags, 0, 0, 0, verify],
            "{client:?}"
        );
    }
}

#[test]
fn what_breaks_the_rules_of_version_1_is_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(long.len(), 108);
    let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    assert_eq!(
        parse(longest.as_bytes()),
        whole(ProxyHeader::Client(None), longest.as_bytes())
    );
    assert_eq!(parse(&long.as_bytes()[..106]), Parsed::Incomplete);
    for (line, error) in [
        (long.as_str(), HeaderError::Line),
        (&long[..107], HeaderError::Line),
        ("PROXY UNKNOWN\n", HeaderError::Line),
        ("PROXY UNKNOWN\rX", HeaderError::Line),
        ("PROXY \r\n", HeaderError::Protocol),
        ("PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", HeaderError::Protocol),
        ("PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", HeaderError::Protocol),
        ("PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n", HeaderError::Protocol),
        ("PROXY UNKNOWNX\r\n", HeaderError::Protocol),
        ("PROXY TCP4\r\n", HeaderError::Addresses),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", HeaderError::Addresses),
        (
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
            HeaderError::Addresses,
        ),
        (
            "PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n",
            HeaderError::Addresses,
        ),
        (
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
            HeaderError::Addresses,
        ),
        (
            "PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n",
            HeaderError::Addresses,
        ),
        ("PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", HeaderError::Addresses),
        (
            "PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
            HeaderError::Addresses,
        ),
        (
            "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
            HeaderError::Addresses,
        ),
        (
            "PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
            HeaderError::Addresses,
        ),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n", HeaderError::Addresses),
        ("PROXY TCP4 ::1 ::1 1 1\r\n", HeaderError::Addresses),
        ("PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", HeaderError::Addresses),
        ("PROXY TCP6 fe80::1%1 ::1 1 1\r\n", HeaderError::Addresses),
        (
            "PROXY TCP4 \u{661}.1.1.1 1.1.1.1 1 1\r\n",
            HeaderError::Addresses,
        ),
    ] {
        assert_eq!(parse(line.as_bytes()), Parsed::Malformed(error), "{line:?}");
    }
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN \r\n",
        "PROXY UNKNOWN 1.1.1.1 what you will\r\n",
    ] {
        assert_eq!(
            parse(line.as_bytes()),
            whole(ProxyHeader::Client(None), line.as_bytes()),
            "{line:?}"
        );
    }
    let zero = "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n";
    assert_eq!(
        parse(zero.as_bytes()),
        whole(tcp("0.0.0.0:0", "255.255.255.255:65535"), zero.as_bytes())
    );
}

#[test]
fn what_breaks_the_rules_of_version_2_is_refused() {
    let with = |tlvs: &[u8]| [&IPV4, tlvs].concat();
    for (bytes, error) in [
        (v2(0x11, 0x11, &IPV4), HeaderError::Version(1)),
        (v2(0x31, 0x11, &IPV4), HeaderError::Version(3)),
        (v2(0x22, 0x11, &IPV4), HeaderError::Command(2)),
        (v2(0x21, 0x41, &IPV4), HeaderError::Family(0x41)),
        (v2(0x21, 0x13, &IPV4), HeaderError::Family(0x13)),
        (v2(0x21, 0x11, &IPV4[1..]), HeaderError::TooShort(11)),
        (v2(0x21, 0x21, &[0; 35]), HeaderError::TooShort(35)),
        (v2(0x21, 0x31, &[0; 215]), HeaderError::TooShort(215)),
        (v2(0x21, 0x11, &with(&[4])), HeaderError::Tlv),
        (v2(0x21, 0x11, &with(&[4, 0])), HeaderError::Tlv),
        (v2(0x21, 0x11, &with(&[4, 0, 1])), HeaderError::Tlv),
        (v2(0x21, 0x11, &with(&[4, 0xff, 0xff, 1])), HeaderError::Tlv),
        (v2(0x21, 0x00, &[4, 0, 1]), HeaderError::Tlv),
        (
            v2(0x21, 0x11, &with(&[3, 0, 3, 0, 0, 0])),
            HeaderError::Checksums,
        ),
        (
            v2(
                0x21,
                0x11,
                &with(&[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]),
            ),
            HeaderError::Checksums,
        ),
        (
            v2(0x21, 0x11, &with(&[3, 0, 4, 0, 0, 0, 0])),
            HeaderError::Checksum,
        ),
    ] {
        assert_eq!(parse(&bytes), Parsed::Malformed(error), "{bytes:02x?}");
    }
    // A length is judged before the parser waits for as many bytes.
    let long = [v2::SIGNATURE, &[0x21, 0x11, 0x3f, 0xf1]].concat();
    assert_eq!(
        parse(&long),
        Parsed::Malformed(HeaderError::TooLong(0x3ff1))
    );
    let longest = [v2::SIGNATURE, &[0x21, 0x11, 0x3f, 0xf0]].concat();
    assert_eq!(parse(&longest), Parsed::Incomplete);
}

#[test]
fn a_local_header_is_skipped_whatever_it_claims() {
    for (family, block) in [
        (0x00, &[][..]),
        (0x11, &[]),
        (0x11, &IPV4),
        (0x21, &IPV4),
        (0x31, &[1; 7]),
        (0xff, &[9; 300]),
    ] {
        let bytes = v2(0x20, family, block);
        assert_eq!(
            parse(&bytes),
            whole(ProxyHeader::Local, &bytes),
            "{family:#x}"
        );
    }
}

#[test]
fn families_without_an_address_for_snigate_are_skipped_with_their_tlvs() {
    let noop = [4, 0, 2, 7, 7, 0xee, 0, 0];
    for (family, length) in [
        (0x00, 0),
        (0x01, 0),
        (0x02, 0),
        (0x30, 216),
        (0x31, 216),
        (0x32, 216),
    ] {
        let bytes = v2(0x21, family, &[&vec![1; length], &noop[..]].concat());
        assert_eq!(
            parse(&bytes),
            whole(ProxyHeader::Client(None), &bytes),
            "{family:#x}"
        );
    }
    // Whatever the transport is.
    for family in [0x10, 0x11, 0x12] {
        let inet = v2(0x21, family, &[&IPV4, &noop[..]].concat());
        assert_eq!(
            parse(&inet),
            whole(tcp("192.0.2.1:56324", "198.51.100.7:443"), &inet),
            "{family:#x}"
        );
    }
    let v6 = V2Header::new(Some(Endpoints::new(
        "[2001:db8::5]:1".parse().unwrap(),
        "[::1]:2".parse().unwrap(),
    )));
    for family in [0x20, 0x21, 0x22] {
        let mut inet6 = v6.clone().finish(false).unwrap();
        inet6[13] = family;
        assert_eq!(
            parse(&inet6),
            whole(tcp("[2001:db8::5]:1", "[::1]:2"), &inet6),
            "{family:#x}"
        );
    }
}

#[test]
fn addresses_are_of_one_family_and_as_short_as_they_can_be() {
    let mapped = Endpoints::new(
        "[::ffff:192.0.2.1]:1".parse().unwrap(),
        "[::ffff:192.0.2.2]:2".parse().unwrap(),
    );
    assert_eq!(
        mapped,
        Endpoints::new(
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap()
        )
    );
    let mixed = Endpoints::new(
        "192.0.2.1:1".parse().unwrap(),
        "[2001:db8::1]:2".parse().unwrap(),
    );
    assert_eq!(mixed.source(), "[::ffff:192.0.2.1]:1".parse().unwrap());
    assert_eq!(
        v1_line(Some(mixed)),
        b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n"
    );
}

#[test]
fn other_protocols_are_no_headers() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROXY\r\n",
        b"proxy ",
        b"\r\n\r\n\r\n",
        &[22, 3, 1, 2, 0],
        b"PROX ",
    ] {
        assert_eq!(parse(bytes), Parsed::NotProxy, "{bytes:?}");
        assert!(!is_recognisable(bytes));
    }
    assert!(is_recognisable(b"PROXY ") && is_recognisable(v2::SIGNATURE));
    assert!(!is_recognisable(b"") && !is_recognisable(b"PROX"));
    assert_eq!(parse(b""), Parsed::Incomplete);
}

#[test]
fn a_header_that_is_too_long_is_not_made() {
    let ssl = |certificate| SslTlv {
        client: ClientFlags::Verified,
        version: "TLSv1.3",
        cipher: None,
        common_name: None,
        certificate: Some(certificate),
    };
    // After the addresses, the TLV's type and length, five bytes, the version and the type and
    // length of the certificate.
    let room = 65535 - 12 - 3 - 5 - 10 - 3;
    let certificate = vec![7; 70_000];
    let ends = Endpoints::new(
        "192.0.2.1:1".parse().unwrap(),
        "192.0.2.2:2".parse().unwrap(),
    );
    let header = |length: usize, crc| {
        V2Header::new(Some(ends))
            .ssl(&ssl(&certificate[..length]))
            .finish(crc)
    };
    assert_eq!(header(room, false).unwrap().len(), 65535 + 16);
    for (length, crc) in [
        (room + 1, false),
        (room, true),
        (65535, false),
        (70_000, false),
    ] {
        assert_eq!(header(length, crc), Err(HeaderTooLong), "{length}");
    }
}

fn endpoints() -> impl Strategy<Value = Endpoints> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>()
        .prop_map(|(a, p, b, q)| Endpoints::new((a, p).into(), (b, q).into()));
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>()
        .prop_map(|(a, p, b, q)| Endpoints::new((a, p).into(), (b, q).into()));
    prop_oneof![v4, v6]
}

/// A header, and what it says.
fn header() -> impl Strategy<Value = (Vec<u8>, ProxyHeader)> {
    let said = ProxyHeader::Client;
    let ends = || proptest::option::of(endpoints());
    let v1 = ends().prop_map(move |ends| (v1_line(ends), said(ends)));
    let v2 = (
        ends(),
        any::<bool>(),
        "[a-z.]{0,40}",
        proptest::collection::vec(any::<u8>(), 0..50),
    )
        .prop_map(move |(ends, crc32c, name, certificate)| {
            let ssl = SslTlv {
                client: ClientFlags::Unverified,
                version: "TLSv1.2",
                cipher: None,
                common_name: Some(&name),
                certificate: Some(&certificate),
            };
            let header = V2Header::new(ends)
                .authority(&name)
                .ssl(&ssl)
                .unique_id("id")
                .finish(crc32c);
            (header.unwrap(), said(ends))
        });
    prop_oneof![v1, v2]
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_every_part_of_it_is_incomplete(
        (bytes, said) in header(),
        rest in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        for end in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..end]), Parsed::Incomplete, "{} of {:?}", end, &bytes);
        }
        let followed = [bytes.as_slice(), &rest].concat();
        prop_assert_eq!(parse(&followed), whole(said, &bytes));
    }

    #[test]
    fn a_damaged_header_is_never_longer_than_what_is_there(
        (mut bytes, _) in header(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Parsed::Complete { consumed, .. } = parse(&bytes) {
            prop_assert!(consumed <= bytes.len());
        }
    }

    #[test]
    fn a_header_with_a_checksum_that_is_damaged_is_not_believed(
        ends in endpoints(),
        at in 16_usize..,
        change in 1_u8..,
    ) {
        let mut bytes = V2Header::new(Some(ends)).authority("a.example").finish(true).unwrap();
        let length = bytes.len();
        let at = 16 + at % (length - 16);
        bytes[at] ^= change;
        // With another type or length of one of the two TLVs there may be none with a checksum any
        // more.
        let checksum = length - 7;
        let authority = checksum - 3 - "a.example".len();
        let unchecked = [authority, checksum].iter().any(|tlv| (*tlv..tlv + 3).contains(&at));
        prop_assert!(unchecked || matches!(parse(&bytes), Parsed::Malformed(_)));
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0..3) {
        let start = [&b""[..], b"PROXY ", v2::SIGNATURE][start as usize];
        let _ = parse(&[start, &bytes].concat());
    }
}
