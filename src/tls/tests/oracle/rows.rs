//! Chains with one change each.

use super::draft::*;
use super::*;

/// Where a change is made.
const LEVELS: [&str; 3] = ["client", "issuing", "root"];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![("sound".to_owned(), Plan::new())];
    for level in LEVELS {
        for (name, oid, critical, value) in extensions() {
            let mut plan = Plan::new();
            plan.at(level).set(oid, critical, value);
            rows.push((format!("{level}: {name}"), plan));
        }
        for (name, change) in FIELDS {
            let mut plan = Plan::new();
            change(plan.at(level));
            rows.push((format!("{level}: {name}"), plan));
        }
    }
    rows.extend(constraints());
    rows.extend(names());
    rows.extend(structures());
    rows
}

impl Plan {
    pub(super) fn at(&mut self, level: &str) -> &mut Draft {
        match level {
            "client" => &mut self.client,
            "issuing" => &mut self.issuing,
            _ => &mut self.root,
        }
    }
}

pub(super) const USAGE: &str = "2.5.29.15";
const EXTENDED: &str = "2.5.29.37";
const NETSCAPE: &str = "2.16.840.1.113730.1.1";
pub(super) const SAN: &str = "2.5.29.17";
pub(super) const CONSTRAINTS: &str = "2.5.29.30";

const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const MAIL: &str = "1.3.6.1.5.5.7.3.4";
const ANY: &str = "2.5.29.37.0";
const SMARTCARD: &str = "1.3.6.1.4.1.311.20.2.2";

/// A BIT STRING of one byte, without its trailing zeros.
pub(super) fn flags(byte: u8) -> Vec<u8> {
    let unused = if byte == 0 {
        0
    } else {
        byte.trailing_zeros() as u8
    };
    if byte == 0 {
        der(BITS, &[&[0]])
    } else {
        der(BITS, &[&[unused, byte]])
    }
}

fn purposes(oids: &[&str]) -> Vec<u8> {
    let oids: Vec<u8> = oids.iter().flat_map(|purpose| oid(purpose)).collect();
    der(SEQ, &[&oids])
}

/// Name, identifier, whether it is critical, and value.
fn extensions() -> Vec<(&'static str, &'static str, bool, Vec<u8>)> {
    let by_id = |text: &[u8]| der(SEQ, &[&der(0x80, &[text])]);
    let by_serial = |issuer: &str, serial: u8| {
        der(
            SEQ,
            &[
                &der(0xa1, &[&der(0xa4, &[&name(UTF8, issuer)])]),
                &der(0x82, &[&[serial]]),
            ],
        )
    };
    let basic = |parts: &[&[u8]]| der(SEQ, parts);
    let (yes, no) = (&[1, 1, 0xff][..], &[1, 1, 0][..]);
    let policies = der(SEQ, &[&der(SEQ, &[&oid("1.2.3.4")])]);
    vec![
        ("EKU client", EXTENDED, false, purposes(&[CLIENT])),
        ("EKU client, critical", EXTENDED, true, purposes(&[CLIENT])),
        ("EKU server", EXTENDED, false, purposes(&[SERVER])),
        ("EKU server, critical", EXTENDED, true, purposes(&[SERVER])),
        (
            "EKU server and client",
            EXTENDED,
            false,
            purposes(&[SERVER, CLIENT]),
        ),
        ("EKU mail", EXTENDED, false, purposes(&[MAIL])),
        ("EKU any", EXTENDED, false, purposes(&[ANY])),
        (
            "EKU any and server",
            EXTENDED,
            false,
            purposes(&[ANY, SERVER]),
        ),
        (
            "EKU smartcard logon",
            EXTENDED,
            false,
            purposes(&[SMARTCARD]),
        ),
        (
            "EKU smartcard logon and client",
            EXTENDED,
            false,
            purposes(&[SMARTCARD, CLIENT]),
        ),
        ("EKU empty", EXTENDED, false, purposes(&[])),
        ("EKU no sequence", EXTENDED, false, der(OCTETS, &[])),
        (
            "EKU of a number",
            EXTENDED,
            false,
            der(SEQ, &[&der(INT, &[&[1]])]),
        ),
        ("KU digitalSignature", USAGE, true, flags(0x80)),
        ("KU nonRepudiation", USAGE, true, flags(0x40)),
        ("KU keyEncipherment", USAGE, true, flags(0x20)),
        ("KU dataEncipherment", USAGE, true, flags(0x10)),
        ("KU keyAgreement", USAGE, true, flags(0x08)),
        ("KU keyCertSign", USAGE, true, flags(0x04)),
        ("KU cRLSign", USAGE, true, flags(0x02)),
        (
            "KU digitalSignature, not critical",
            USAGE,
            false,
            flags(0x80),
        ),
        ("KU keyCertSign and cRLSign", USAGE, true, flags(0x06)),
        (
            "KU digitalSignature and keyCertSign",
            USAGE,
            true,
            flags(0x84),
        ),
        ("KU decipherOnly", USAGE, true, der(BITS, &[&[7, 0, 0x80]])),
        ("KU nothing", USAGE, true, flags(0)),
        ("KU no bits", USAGE, true, der(OCTETS, &[&[0]])),
        ("nsCertType client", NETSCAPE, false, flags(0x80)),
        ("nsCertType server", NETSCAPE, false, flags(0x40)),
        ("nsCertType server and client", NETSCAPE, false, flags(0xc0)),
        ("nsCertType mail", NETSCAPE, false, flags(0x20)),
        ("nsCertType objsign", NETSCAPE, false, flags(0x10)),
        ("nsCertType sslCA", NETSCAPE, false, flags(0x04)),
        ("nsCertType emailCA", NETSCAPE, false, flags(0x02)),
        ("nsCertType objCA", NETSCAPE, false, flags(0x01)),
        ("nsCertType nothing", NETSCAPE, false, flags(0)),
        ("nsCertType no bits", NETSCAPE, false, der(INT, &[&[1]])),
        ("nsCertType client, critical", NETSCAPE, true, flags(0x80)),
        ("BC CA:TRUE", BASIC, true, basic(&[yes])),
        ("BC CA:TRUE, not critical", BASIC, false, basic(&[yes])),
        ("BC CA:FALSE", BASIC, true, basic(&[])),
        ("BC CA:FALSE, written out", BASIC, false, basic(&[no])),
        ("BC pathlen 0", BASIC, true, basic(&[yes, &[2, 1, 0]])),
        ("BC pathlen 1", BASIC, true, basic(&[yes, &[2, 1, 1]])),
        ("BC pathlen 300", BASIC, true, basic(&[yes, &[2, 2, 1, 44]])),
        ("BC pathlen -1", BASIC, true, basic(&[yes, &[2, 1, 0xff]])),
        ("BC pathlen without CA", BASIC, true, basic(&[&[2, 1, 0]])),
        ("BC TRUE as 1", BASIC, true, basic(&[&[1, 1, 1]])),
        ("BC no sequence", BASIC, true, der(OCTETS, &[])),
        ("unknown", "1.2.3.4.5", false, vec![5, 0]),
        ("unknown, critical", "1.2.3.4.5", true, vec![5, 0]),
        ("policies", "2.5.29.32", false, policies.clone()),
        ("policies, critical", "2.5.29.32", true, policies),
        ("policies, unreadable", "2.5.29.32", false, vec![5, 0]),
        (
            "policyConstraints, critical",
            "2.5.29.36",
            true,
            der(SEQ, &[&der(0x80, &[&[0]])]),
        ),
        (
            "inhibitAnyPolicy, critical",
            "2.5.29.54",
            true,
            der(INT, &[&[0]]),
        ),
        (
            "issuerAltName, critical",
            "2.5.29.18",
            true,
            der(SEQ, &[&der(0x82, &[b"a.example"])]),
        ),
        (
            "precertificate poison",
            "1.3.6.1.4.1.11129.2.4.3",
            true,
            vec![5, 0],
        ),
        (
            "proxyCertInfo, critical",
            "1.3.6.1.5.5.7.1.14",
            true,
            der(SEQ, &[&der(SEQ, &[&oid("1.3.6.1.5.5.7.21.1")])]),
        ),
        (
            "OCSP must-staple",
            "1.3.6.1.5.5.7.1.24",
            false,
            der(SEQ, &[&der(INT, &[&[5]])]),
        ),
        (
            "SAN mail",
            SAN,
            false,
            der(SEQ, &[&der(0x81, &[b"a@example.net"])]),
        ),
        (
            "SAN critical",
            SAN,
            true,
            der(SEQ, &[&der(0x82, &[b"a.example.net"])]),
        ),
        ("SAN empty", SAN, false, der(SEQ, &[])),
        ("SAN no sequence", SAN, false, der(OCTETS, &[])),
        (
            "SAN of an address of 5 bytes",
            SAN,
            false,
            der(SEQ, &[&der(0x87, &[&[1, 2, 3, 4, 5]])]),
        ),
        (
            "a CRL point with a name, critical",
            "2.5.29.31",
            true,
            der(
                SEQ,
                &[&der(
                    SEQ,
                    &[&der(
                        0xa0,
                        &[&der(0xa0, &[&der(0x86, &[b"http://own.example/a"])])],
                    )],
                )],
            ),
        ),
        (
            "CRL points, critical",
            "2.5.29.31",
            true,
            der(SEQ, &[&der(SEQ, &[])]),
        ),
        ("CRL points, unreadable", "2.5.29.31", false, vec![5, 0]),
        ("SKI other", SKI, false, der(OCTETS, &[b"other"])),
        ("SKI critical", SKI, true, der(OCTETS, &[b"issuing"])),
        ("SKI unreadable", SKI, false, vec![5, 0]),
        ("AKI of another key", AKI, false, by_id(b"other")),
        ("AKI empty", AKI, false, der(SEQ, &[])),
        ("AKI unreadable", AKI, false, vec![5, 0]),
        (
            "AKI by the serial of root",
            AKI,
            false,
            by_serial("root", 1),
        ),
        (
            "AKI by another serial of root",
            AKI,
            false,
            by_serial("root", 9),
        ),
        (
            "AKI by the serial of another CA",
            AKI,
            false,
            by_serial("other", 1),
        ),
        ("AKI critical", AKI, true, der(SEQ, &[])),
        (
            "authorityInfoAccess, unreadable",
            "1.3.6.1.5.5.7.1.1",
            false,
            vec![5, 0],
        ),
    ]
}

type Change = fn(&mut Draft);

const FIELDS: [(&str, Change); 22] = [
    ("expired", |c| c.to = "210101000000Z"),
    ("early", |c| c.from = "490101000000Z"),
    ("ends before it begins", |c| {
        (c.from, c.to) = ("20980101000000Z", "20970101000000Z")
    }),
    ("GeneralizedTime", |c| {
        (c.from, c.to) = ("20200101000000Z", "20490101000000Z")
    }),
    ("before 1970", |c| c.from = "690101000000Z"),
    ("a date with an offset", |c| c.from = "200101000000+0100"),
    ("a date without seconds", |c| c.from = "2001010000Z"),
    ("a date with fractions", |c| c.from = "20200101000000.5Z"),
    ("the end of time", |c| c.to = "99991231235959Z"),
    ("serial 0", |c| c.serial = vec![0]),
    ("serial of 20 bytes", |c| c.serial = vec![0x7f; 20]),
    ("serial of 21 bytes", |c| c.serial = vec![0x7f; 21]),
    ("serial of 40 bytes", |c| c.serial = vec![0x7f; 40]),
    ("serial negative", |c| c.serial = vec![0x80]),
    ("serial padded", |c| c.serial = vec![0, 1]),
    ("serial empty", |c| c.serial = Vec::new()),
    ("version 1", |c| {
        c.version = None;
        c.extensions.clear();
    }),
    ("version 1 with extensions", |c| c.version = None),
    ("version 2 with extensions", |c| c.version = Some(1)),
    ("version 4", |c| c.version = Some(3)),
    ("no extensions", |c| c.extensions.clear()),
    ("no AKI", |c| c.without(AKI)),
];

/// One GeneralName of each kind.
fn general(kind: &str, text: &str) -> Vec<u8> {
    let address = |text: &str| -> Vec<u8> {
        text.split('/')
            .flat_map(|part| part.split('.').map(|byte| byte.parse::<u8>().unwrap()))
            .collect()
    };
    match kind {
        "mail" => der(0x81, &[text.as_bytes()]),
        "DNS" => der(0x82, &[text.as_bytes()]),
        "directory" => der(0xa4, &[&name(UTF8, text)]),
        "URI" => der(0x86, &[text.as_bytes()]),
        "IP" => der(0x87, &[&address(text)]),
        "registered" => der(0x88, &[&oid(text)[2..]]),
        "UPN" => {
            let principal = oid("1.3.6.1.4.1.311.20.2.3");
            der(
                0xa0,
                &[&principal, &der(0xa0, &[&der(UTF8, &[text.as_bytes()])])],
            )
        }
        other => panic!("{other}"),
    }
}

/// `+` for permitted or `-` for excluded, the kind of name, the base, and the names of the client.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// Permitted and excluded names, and the names of the client.
fn constraints() -> Vec<Row> {
    let cases: &[Case] = &[
        ("+", "DNS", "example.net", &[("DNS", "a.example.net")]),
        ("+", "DNS", "example.net", &[("DNS", "example.net")]),
        ("+", "DNS", "example.net", &[("DNS", "A.EXAMPLE.NET")]),
        ("+", "DNS", "example.net", &[("DNS", "a.example.com")]),
        ("+", "DNS", "example.net", &[("DNS", "aexample.net")]),
        ("+", "DNS", "example.net", &[("DNS", "*.example.net")]),
        ("+", "DNS", "example.net", &[("DNS", "*.net")]),
        ("+", "DNS", "example.net", &[("DNS", "a.example.net.")]),
        ("+", "DNS", "example.net.", &[("DNS", "a.example.net")]),
        ("+", "DNS", "example.net", &[("DNS", "a_b.example.net")]),
        ("+", "DNS", "example.net", &[("DNS", "a b.example.net")]),
        ("+", "DNS", "example.net", &[("DNS", "a..example.net")]),
        ("+", "DNS", "example.net", &[("DNS", "")]),
        ("+", "DNS", ".example.net", &[("DNS", "a.example.net")]),
        ("+", "DNS", ".example.net", &[("DNS", "example.net")]),
        ("+", "DNS", "", &[("DNS", "a.example.net")]),
        ("+", "DNS", "*.example.net", &[("DNS", "a.example.net")]),
        (
            "+",
            "DNS",
            "example.net",
            &[("DNS", "a.example.net"), ("DNS", "b.example.com")],
        ),
        ("+", "DNS", "example.net", &[("IP", "192.0.2.1")]),
        ("+", "DNS", "example.net", &[("mail", "a@example.com")]),
        ("+", "DNS", "example.net", &[]),
        ("-", "DNS", "example.net", &[("DNS", "a.example.net")]),
        ("-", "DNS", "example.net", &[("DNS", "a.example.com")]),
        ("-", "DNS", "a.example.net", &[("DNS", "*.example.net")]),
        ("-", "DNS", "", &[("DNS", "a.example.net")]),
        ("+", "IP", "192.0.2.0/255.255.255.0", &[("IP", "192.0.2.1")]),
        ("+", "IP", "192.0.2.0/255.255.255.0", &[("IP", "192.0.3.1")]),
        ("-", "IP", "192.0.2.0/255.255.255.0", &[("IP", "192.0.2.1")]),
        ("-", "IP", "192.0.2.0/255.255.255.0", &[("IP", "192.0.3.1")]),
        ("+", "IP", "192.0.2.0/255.0.255.0", &[("IP", "192.0.2.1")]),
        ("+", "IP", "192.0.2.0", &[("IP", "192.0.2.1")]),
        (
            "+",
            "IP",
            "192.0.2.0/255.255.255.0",
            &[("DNS", "a.example.net")],
        ),
        ("+", "mail", "example.net", &[("mail", "a@example.net")]),
        ("+", "mail", "example.net", &[("mail", "a@example.com")]),
        ("-", "mail", "example.net", &[("mail", "a@example.net")]),
        ("-", "mail", "example.net", &[("mail", "a@example.com")]),
        ("+", "mail", "example.net", &[("DNS", "a.example.net")]),
        (
            "+",
            "URI",
            "example.net",
            &[("URI", "spiffe://example.net/a")],
        ),
        (
            "+",
            "URI",
            "example.net",
            &[("URI", "spiffe://example.com/a")],
        ),
        (
            "-",
            "URI",
            "example.net",
            &[("URI", "spiffe://example.net/a")],
        ),
        ("+", "URI", "example.net", &[("DNS", "a.example.net")]),
        ("+", "directory", "client", &[]),
        ("+", "directory", "other", &[]),
        ("-", "directory", "client", &[]),
        ("-", "directory", "other", &[]),
        ("-", "directory", "other", &[("directory", "other")]),
        ("+", "UPN", "example.net", &[("UPN", "a@example.net")]),
        ("+", "UPN", "example.net", &[("DNS", "a.example.net")]),
        ("-", "registered", "1.2.3", &[("registered", "1.2.3.4")]),
        ("-", "registered", "1.2.3", &[("DNS", "a.example.net")]),
    ];
    let mut rows = Vec::new();
    for level in ["issuing", "root"] {
        for (sign, kind, base, names) in cases {
            let mut plan = Plan::new();
            let tree = der(SEQ, &[&der(SEQ, &[&general(kind, base)])]);
            let tag = if *sign == "+" { 0xa0 } else { 0xa1 };
            plan.at(level)
                .set(CONSTRAINTS, true, der(SEQ, &[&der(tag, &[&tree[2..]])]));
            if !names.is_empty() {
                let names: Vec<u8> = names
                    .iter()
                    .flat_map(|(kind, text)| general(kind, text))
                    .collect();
                plan.client.set(SAN, false, der(SEQ, &[&names]));
            }
            let shown: Vec<String> = names
                .iter()
                .map(|(kind, text)| format!("{kind} {text}"))
                .collect();
            rows.push((
                format!(
                    "{level}: NC {sign}{kind} {base:?}, client {}",
                    shown.join(", ")
                ),
                plan,
            ));
        }
        for (what, value) in [
            ("empty", der(SEQ, &[])),
            ("no sequence", vec![5, 0]),
            ("with a minimum", {
                let tree = der(SEQ, &[&general("DNS", "example.net"), &der(0x80, &[&[1]])]);
                der(SEQ, &[&der(0xa0, &[&tree])])
            }),
        ] {
            let mut plan = Plan::new();
            plan.at(level).set(CONSTRAINTS, true, value);
            plan.client
                .set(SAN, false, der(SEQ, &[&general("DNS", "a.example.net")]));
            rows.push((format!("{level}: NC {what}"), plan));
        }
        for (text, tag) in [
            ("a.example.com", UTF8),
            ("a.example.net", UTF8),
            ("a.example.com", BMP),
            ("ada", UTF8),
        ] {
            let mut plan = Plan::new();
            plan.at(level).set(CONSTRAINTS, true, {
                let tree = der(SEQ, &[&general("DNS", "example.net")]);
                der(SEQ, &[&der(0xa0, &[&tree])])
            });
            plan.client.subject = name(tag, text);
            rows.push((
                format!("{level}: NC DNS, client's CN {text} of type {tag:#x}"),
                plan,
            ));
        }
        let mut plan = Plan::new();
        plan.at(level).set(CONSTRAINTS, true, {
            let tree = der(SEQ, &[&general("mail", "example.net")]);
            der(SEQ, &[&der(0xa0, &[&tree])])
        });
        plan.client.subject = of_attribute("1.2.840.113549.1.9.1", &der(IA5, &[b"a@example.com"]));
        rows.push((format!("{level}: NC mail, client's subject has one"), plan));
    }
    let mut plan = Plan::new();
    plan.client.set(CONSTRAINTS, true, der(SEQ, &[]));
    rows.push(("client: NC empty".to_owned(), plan));
    rows
}

/// An issuer's name as another one writes it.
fn names() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, name) in [
        ("PrintableString", name(PRINTABLE, "root")),
        ("TeletexString", name(TELETEX, "root")),
        ("BMPString", name(BMP, "root")),
        ("IA5String", name(IA5, "root")),
        ("upper case", name(UTF8, "ROOT")),
        ("blanks", name(UTF8, " root ")),
        (
            "another attribute",
            of_attribute("2.5.4.11", &der(UTF8, &[b"root"])),
        ),
        ("empty", der(SEQ, &[])),
    ] {
        let mut plan = Plan::new();
        plan.issuing.issuer = name;
        rows.push((format!("issuing: names its issuer in {what}"), plan));
    }
    for (what, subject) in [
        ("PrintableString", name(PRINTABLE, "client")),
        ("BMPString", name(BMP, "client")),
        ("TeletexString", name(TELETEX, "client")),
        ("NumericString", name(0x12, "42")),
        ("VisibleString", name(0x1a, "client")),
        (
            "UniversalString",
            of_attribute("2.5.4.3", &der(0x1c, &[b"\0\0\0a"])),
        ),
        (
            "BMPString cut",
            of_attribute("2.5.4.3", &der(BMP, &[b"\0a\0"])),
        ),
        (
            "UTF8String that is none",
            of_attribute("2.5.4.3", &der(UTF8, &[&[0xff, 0xfe]])),
        ),
        ("PrintableString with @", name(PRINTABLE, "a@b")),
        ("a number", of_attribute("2.5.4.3", &der(INT, &[&[5]]))),
        ("nothing", der(SEQ, &[])),
        ("NUL", name(UTF8, "a\0b")),
    ] {
        let mut plan = Plan::new();
        plan.client.subject = subject;
        rows.push((format!("client: subject of {what}"), plan));
    }
    rows
}

/// Several certificates of the root, and those that have issued themselves.
fn structures() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Plan)| {
        let mut plan = Plan::new();
        change(&mut plan);
        rows.push((name.to_owned(), plan));
    };
    let limit = |length: u8| der(SEQ, &[&[1, 1, 0xff], &[2, 1, length]]);
    add("self-issued intermediate, root pathlen 0", &|p| {
        p.root.set(BASIC, true, limit(0));
        p.issuing.subject = p.root.subject.clone();
        p.client.issuer = p.root.subject.clone();
    });
    add("self-issued intermediate, root EKU server", &|p| {
        p.root.set(EXTENDED, false, purposes(&[SERVER]));
        p.issuing.subject = p.root.subject.clone();
        p.client.issuer = p.root.subject.clone();
    });
    add("two roots of one key, the second for servers", &|p| {
        let mut other = p.root.clone();
        other.set(EXTENDED, false, purposes(&[SERVER]));
        p.roots.push(other);
    });
    add("two roots of one key, the first for servers", &|p| {
        p.roots.push(p.root.clone());
        p.root.set(EXTENDED, false, purposes(&[SERVER]));
    });
    add("two roots of one key, the first of pathlen 0", &|p| {
        p.roots.push(p.root.clone());
        p.root.set(BASIC, true, limit(0));
    });
    add("two roots of one key, the first with NC", &|p| {
        p.roots.push(p.root.clone());
        p.root.set(CONSTRAINTS, true, {
            let tree = der(SEQ, &[&general("DNS", "example.net")]);
            der(SEQ, &[&der(0xa0, &[&tree])])
        });
        p.client
            .set(SAN, false, der(SEQ, &[&general("DNS", "a.example.com")]));
    });
    add("two roots of one key, the first expired", &|p| {
        p.roots.push(p.root.clone());
        p.root.to = "210101000000Z";
    });
    add("the client's issuer is the root by name", &|p| {
        p.client.issuer = p.root.subject.clone()
    });
    for (what, twice) in [
        ("SKI", SKI),
        ("AKI", AKI),
        ("BC", BASIC),
        ("unknown", "1.2.3.4.5"),
    ] {
        for level in LEVELS {
            add(&format!("{level}: {what} twice"), &|p| {
                let draft = p.at(level);
                let value = if twice == BASIC && level == "client" {
                    der(SEQ, &[])
                } else {
                    vec![5, 0]
                };
                let own = draft
                    .extensions
                    .iter()
                    .find(|known| known.oid == twice)
                    .map(|known| known.value.clone());
                let value = own.unwrap_or(value);
                draft.set(twice, false, value.clone());
                draft.extensions.push(Extension {
                    oid: twice,
                    critical: false,
                    value,
                });
            });
        }
    }
    rows
}
