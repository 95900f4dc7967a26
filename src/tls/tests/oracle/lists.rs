//! Revocation lists with one change each, beside a chain that is sound.

use super::draft::*;
use super::rows::USAGE;
use super::*;

const POINT: &str = "2.5.29.28";

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Plan)| {
        let mut plan = Plan::new();
        plan.lists.push((ListDraft::new("issuing"), By::Issuing));
        change(&mut plan);
        rows.push((format!("list: {name}"), plan));
    };
    let uri = |text: &str| der(0x86, &[text.as_bytes()]);
    let point = |text: &str| der(0xa0, &[&der(0xa0, &[&uri(text)])]);
    let scope = |parts: &[&[u8]]| der(SEQ, parts);
    let of_client = |p: &mut Plan, text: &str| {
        p.client
            .set("2.5.29.31", false, der(SEQ, &[&der(SEQ, &[&point(text)])]))
    };
    let revoke = |p: &mut Plan| p.lists[0].0.entries.push((vec![3], Vec::new()));

    add("sound", &|_| ());
    add("empty", &|p| p.lists[0].0.entries.clear());
    add("revoked", &|p| revoke(p));
    add("revoked with a padded serial", &|p| {
        p.lists[0].0.entries.push((vec![0, 3], Vec::new()))
    });
    for reason in [1, 6, 8, 11] {
        add(&format!("revoked for reason {reason}"), &|p| {
            let value = der(0x0a, &[&[reason]]);
            p.lists[0].0.entries.push((
                vec![3],
                vec![Extension {
                    oid: "2.5.29.21",
                    critical: false,
                    value,
                }],
            ));
        });
    }
    add("a critical extension of an entry", &|p| {
        p.lists[0].0.entries[0].1.push(Extension {
            oid: "1.2.3.4",
            critical: true,
            value: vec![5, 0],
        });
    });
    add("an entry of another issuer", &|p| {
        let value = der(SEQ, &[&der(0xa4, &[&name(UTF8, "other")])]);
        p.lists[0].0.entries[0].1.push(Extension {
            oid: "2.5.29.29",
            critical: true,
            value,
        });
    });
    add("version 1", &|p| {
        p.lists[0].0.version = None;
        p.lists[0].0.extensions.clear();
    });
    add("version 1 with extensions", &|p| {
        p.lists[0].0.version = None
    });
    add("version 3", &|p| p.lists[0].0.version = Some(2));
    add("no extensions", &|p| p.lists[0].0.extensions.clear());
    add("no number", &|p| {
        p.lists[0].0.extensions.clear();
        p.lists[0]
            .0
            .add(AKI, false, der(SEQ, &[&der(0x80, &[b"issuing"])]));
    });
    add("no nextUpdate", &|p| p.lists[0].0.next = None);
    add("expired", &|p| p.lists[0].0.next = Some("210101000000Z"));
    add("from the future", &|p| {
        p.lists[0].0.this = "20900101000000Z"
    });
    add("from the future, beside one of today", &|p| {
        p.lists.push((ListDraft::new("issuing"), By::Issuing));
        p.lists[0].0.this = "20900101000000Z";
    });
    add("from the future, beside one that has expired", &|p| {
        p.lists.push((ListDraft::new("issuing"), By::Issuing));
        p.lists[0].0.this = "20900101000000Z";
        p.lists[1].0.next = Some("210101000000Z");
    });
    add("from the future, beside one of today, revoking", &|p| {
        p.lists.push((ListDraft::new("issuing"), By::Issuing));
        p.lists[0].0.this = "20900101000000Z";
        revoke(p);
    });
    add("ends before it begins", &|p| {
        (p.lists[0].0.this, p.lists[0].0.next) = ("20900101000000Z", Some("300101000000Z"))
    });
    add("of a stranger", &|p| p.lists[0].1 = By::Nobody);
    add("of the root", &|p| {
        p.lists[0] = (ListDraft::new("root"), By::Root)
    });
    add("of the issuer's name, by the root's key", &|p| {
        p.lists[0].1 = By::Root
    });
    add("of another name", &|p| {
        p.lists[0].0.issuer = name(UTF8, "other")
    });
    add("names its issuer in PrintableString", &|p| {
        p.lists[0].0.issuer = name(PRINTABLE, "issuing")
    });
    add("AKI of the issuer", &|p| {
        p.lists[0]
            .0
            .add(AKI, false, der(SEQ, &[&der(0x80, &[b"issuing"])]))
    });
    add("AKI of another", &|p| {
        p.lists[0]
            .0
            .add(AKI, false, der(SEQ, &[&der(0x80, &[b"other"])]))
    });
    add("delta", &|p| {
        p.lists[0].0.add("2.5.29.27", true, der(INT, &[&[1]]))
    });
    add("unknown extension", &|p| {
        p.lists[0].0.add("1.2.3.4", false, vec![5, 0])
    });
    add("unknown extension, critical", &|p| {
        p.lists[0].0.add("1.2.3.4", true, vec![5, 0])
    });
    add("number twice", &|p| {
        p.lists[0].0.add("2.5.29.20", false, der(INT, &[&[1]]))
    });
    add("number unreadable", &|p| {
        p.lists[0].0.extensions[0].value = vec![5, 0]
    });
    add("number of 30 bytes", &|p| {
        p.lists[0].0.extensions[0].value = der(INT, &[&[7; 30]])
    });
    for (what, value) in [
        ("nothing", scope(&[])),
        ("users", scope(&[&[0x81, 1, 0xff]])),
        ("authorities", scope(&[&[0x82, 1, 0xff]])),
        (
            "users and authorities",
            scope(&[&[0x81, 1, 0xff], &[0x82, 1, 0xff]]),
        ),
        ("some reasons", scope(&[&[0x83, 2, 5, 0x60]])),
        ("indirect", scope(&[&[0x84, 1, 0xff]])),
        ("attributes", scope(&[&[0x85, 1, 0xff]])),
        ("a point", scope(&[&point("http://own.example/a")])),
        (
            "a point relative to the issuer",
            scope(&[&der(0xa0, &[&der(0xa1, &[&[]])])]),
        ),
        ("unreadable", vec![5, 0]),
    ] {
        add(&format!("scope: {what}"), &|p| {
            p.lists[0].0.add(POINT, true, value.clone())
        });
        add(&format!("scope: {what}, revoking"), &|p| {
            p.lists[0].0.add(POINT, true, value.clone());
            revoke(p);
        });
        add(&format!("scope: {what}, of the client's point"), &|p| {
            p.lists[0].0.add(POINT, true, value.clone());
            of_client(p, "http://own.example/a");
        });
    }
    add("of another point than the client's", &|p| {
        p.lists[0]
            .0
            .add(POINT, true, scope(&[&point("http://own.example/b")]));
        of_client(p, "http://own.example/a");
    });
    add("issuer without cRLSign", &|p| {
        p.issuing.set(USAGE, true, der(BITS, &[&[2, 4]]))
    });
    add("issuer with cRLSign", &|p| {
        p.issuing.set(USAGE, true, der(BITS, &[&[1, 6]]))
    });
    rows
}
