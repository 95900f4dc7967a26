//! Files as operators and other programs write them, cut off and damaged.

use rustls_pki_types::pem::PemObject;

use super::*;
use crate::pki::{Authority, Validity};

fn bundle() -> (String, String) {
    let pem = |name| {
        Authority::new(name, Validity::days(1))
            .unwrap()
            .certificate()
            .to_owned()
    };
    (pem("one"), pem("two"))
}

#[test]
fn comments_blank_lines_and_other_writers_habits_are_no_obstacle() {
    let (one, two) = bundle();
    let glued = format!("{}{}", one.trim_end(), two);
    let indented = format!(
        "{one}{}",
        two.replace('\n', "\n    ")
            .replace("-----BEGIN", "    -----BEGIN")
    );
    for (what, text) in [
        ("plain", format!("{one}{two}")),
        (
            "comments",
            format!("# CA one ------\n\n{one}\n\n----- CA two -----\n{two}\n# end\n"),
        ),
        ("no newline between them", glued),
        ("indented", indented),
        (
            "carriage returns",
            format!("{one}{two}").replace('\n', "\r\n"),
        ),
        ("byte order mark", format!("\u{feff}{one}{two}")),
        (
            "carriage returns alone",
            format!("{one}{two}").replace('\n', "\r"),
        ),
        (
            "byte order marks of several files",
            format!("\u{feff}{one}\u{feff}{two}"),
        ),
        (
            "white space in the base64",
            format!("{one}{}", two.replace("\nM", " \t\n\n  M")),
        ),
        ("all on one line", format!("{one}{two}").replace('\n', " ")),
        (
            "headings",
            format!(
                "---- OUR CERTIFICATES ----\n{one}\n==== THE KEY CA ====\n--- end of list ---\n{two}---\n"
            ),
        ),
        (
            "parameters",
            format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{one}{two}"
            ),
        ),
        (
            "a digest",
            format!("# {0}\n{0}\n{one}{two}", "0a1b".repeat(16)),
        ),
        (
            "one long line",
            format!("{one}{}", two.replace('\n', "").replace("----M", "----\nM")),
        ),
    ] {
        assert_eq!(
            certificates(text.as_bytes()).map(|found| found.len()),
            Ok(2),
            "{what}"
        );
    }
    let latin1 = [b"# f\xfcr uns\n".as_slice(), one.as_bytes()].concat();
    assert_eq!(certificates(&latin1).map(|found| found.len()), Ok(1));
}

#[test]
fn a_bundle_that_is_cut_off_anywhere_is_an_error() {
    let (one, two) = bundle();
    let text = format!("{one}{two}");
    let end = text.trim_end().len();
    // From the first byte that says that another block begins, to the last one that says that it
    // has ended.
    for cut in one.len() + 1..end {
        assert!(
            certificates(&text.as_bytes()[..cut]).is_err(),
            "cut to {cut} of {end} bytes"
        );
    }
    let unfinished = PemError::Unfinished {
        line: one.lines().count() + 1,
        label: "CERTIFICATE".to_owned(),
    };
    assert_eq!(
        certificates(&text.as_bytes()[..end - 9]),
        Err(unfinished.into())
    );
    // The same from the front.
    for cut in 1..one.len() - "-----END CERTIFICATE-----\n".len() {
        assert!(
            certificates(&text.as_bytes()[cut..]).is_err(),
            "cut from {cut}"
        );
    }
    assert_eq!(
        certificates(&text.as_bytes()[1..]),
        Err(PemError::Mark(1).into())
    );
}

#[test]
fn one_bad_certificate_refuses_the_whole_bundle() {
    let (one, two) = bundle();
    let no_base64 = two.replacen("\nM", "\n!", 1);
    assert_eq!(
        certificates(format!("{one}{no_base64}").as_bytes()),
        Err(PemError::Base64 {
            line: one.lines().count() + 2,
            newlines: false
        }
        .into())
    );

    let no_certificate = "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n";
    let error = certificates(format!("{one}{no_certificate}{two}").as_bytes()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("certificate 2 of 3 in the file cannot be read: "),
        "{error}"
    );

    let trusted = two.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let error = certificates(format!("{one}{trusted}").as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("line 1") && error.to_string().contains("openssl x509"),
        "{error}"
    );
}

#[test]
fn a_file_without_a_certificate_says_what_it_is() {
    let issued = Authority::new("ca", Validity::days(1))
        .unwrap()
        .client("web", Validity::days(1))
        .unwrap();
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
    for (bytes, expected) in [
        (b"".as_slice(), PemError::Form(Form::Empty).into()),
        (b"\n# nothing\n", BundleError::NoCertificate),
        (b"\0\0", PemError::Form(Form::Zeros).into()),
        (
            issued.key.as_bytes(),
            BundleError::Instead(Foreign::PrivateKey),
        ),
        (request.as_bytes(), BundleError::Instead(Foreign::Request)),
    ] {
        assert_eq!(certificates(bytes), Err(expected), "{bytes:?}");
    }
}

#[test]
fn a_single_der_certificate_is_a_bundle_and_bytes_after_it_are_an_error() {
    let (one, _) = bundle();
    let der = CertificateDer::from_pem_slice(one.as_bytes()).unwrap();
    assert_eq!(certificates(&der), Ok(vec![der.clone()]));
    let more = [&der[..], b"\0"].concat();
    assert!(matches!(
        certificates(&more),
        Err(BundleError::Certificate {
            number: 1,
            total: 1,
            ..
        })
    ));
    assert!(matches!(
        certificates(&der[..100]),
        Err(BundleError::Certificate { .. })
    ));
}

/// Files in a form that is not PEM: what is said of each names it and what to do.
#[test]
fn a_file_in_another_form_is_named_with_its_remedy() {
    let (one, two) = bundle();
    let text = format!("# our CAs\n{one}{two}");
    let utf16 = |low_first: bool, mark: bool| -> Vec<u8> {
        let units = mark
            .then_some(0xfeff)
            .into_iter()
            .chain(text.encode_utf16());
        units
            .flat_map(|unit| {
                if low_first {
                    unit.to_le_bytes()
                } else {
                    unit.to_be_bytes()
                }
            })
            .collect()
    };
    let utf32: Vec<u8> = "\u{feff}"
        .chars()
        .chain(text.chars())
        .flat_map(|c| (c as u32).to_le_bytes())
        .collect();
    let encoded = base64_of(one.as_bytes());
    let bare = one
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<Vec<_>>()
        .join("\n");
    for (bytes, form, words) in [
        (b"".to_vec(), Form::Empty, "empty"),
        (b"\n \r\n".to_vec(), Form::Empty, "empty"),
        (vec![0; 4096], Form::Zeros, "zero bytes"),
        (utf16(true, true), Form::Utf16, "iconv -f UTF-16 -t UTF-8"),
        (utf16(false, true), Form::Utf16, "iconv -f UTF-16 -t UTF-8"),
        (
            utf16(true, false),
            Form::Utf16Le,
            "iconv -f UTF-16LE -t UTF-8",
        ),
        (
            utf16(false, false),
            Form::Utf16Be,
            "iconv -f UTF-16BE -t UTF-8",
        ),
        (utf32, Form::Utf32, "UTF-32"),
        (
            b"\n<!DOCTYPE html>\n<html><title>404</title></html>".to_vec(),
            Form::Page,
            "HTML",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec(),
            Form::LfsPointer,
            "git lfs pull",
        ),
        (encoded, Form::EncodedPem, "base64 -d"),
        (bare.into_bytes(), Form::BareBase64, "base64 -d"),
        (
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            Form::JavaKeystore,
            "keytool",
        ),
        (b"\x1f\x8b\x08\0".to_vec(), Form::Gzip, "gunzip"),
        (b"PK\x03\x04".to_vec(), Form::Zip, "unzip"),
        (
            b"$ANSIBLE_VAULT;1.1;AES256\n".to_vec(),
            Form::AnsibleVault,
            "ansible-vault decrypt",
        ),
        (b"age-encryption.org/v1\n".to_vec(), Form::Age, "age -d"),
        (b"ssh-ed25519 AAAA\n".to_vec(), Form::SshPublicKey, "SSH"),
        (b"{\"error\": 404}".to_vec(), Form::Json, "JSON"),
    ] {
        let expected = PemError::Form(form);
        assert!(expected.to_string().contains(words), "{expected}");
        assert_eq!(
            certificates(&bytes),
            Err(expected.clone().into()),
            "{words}"
        );
        assert_eq!(
            revocation_lists(&bytes),
            Err(expected.clone().into()),
            "{words}"
        );
        assert_eq!(sections(&bytes).err(), Some(expected), "{words}");
    }
}

fn base64_of(bytes: &[u8]) -> Vec<u8> {
    let pem = base64::pem("X", bytes);
    pem.lines()
        .filter(|line| !line.starts_with('-'))
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into_bytes()
}

/// Text beside a sound block that may be a damaged one is never passed over.
#[test]
fn what_may_be_a_damaged_block_beside_a_sound_one_is_an_error_at_its_line() {
    let (one, two) = bundle();
    let second = one.lines().count() + 1;
    let last = second + two.lines().count() - 1;
    // The first line of base64; one without a digit, which few are, might as well be a word.
    let loose = second
        + two
            .lines()
            .position(|line| line.contains(|c: char| c.is_ascii_digit()))
            .unwrap();
    let marks = |begin: &str, end: &str| {
        two.replace("-----BEGIN CERTIFICATE-----", begin)
            .replace("-----END CERTIFICATE-----", end)
    };
    let utf16: Vec<u8> = two.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (what, added, expected) in [
        (
            "four dashes",
            marks("----BEGIN CERTIFICATE----", "----END CERTIFICATE----"),
            PemError::Mark(second),
        ),
        (
            "six dashes",
            marks("------BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"),
            PemError::Mark(second),
        ),
        (
            "long dashes",
            marks(
                "\u{2014}\u{2014}BEGIN CERTIFICATE\u{2014}",
                "\u{2014}END CERTIFICATE\u{2014}",
            ),
            PemError::Mark(second),
        ),
        (
            "lower case",
            marks("-----begin certificate-----", "-----end certificate-----"),
            PemError::Mark(second),
        ),
        (
            "a space",
            marks(
                "----- BEGIN CERTIFICATE -----",
                "----- END CERTIFICATE -----",
            ),
            PemError::Mark(second),
        ),
        (
            "commented out",
            two.replace("-----BEGIN", "# -----BEGIN"),
            PemError::Mark(second),
        ),
        (
            "quoted",
            two.lines().map(|line| format!("> {line}\n")).collect(),
            PemError::Mark(second),
        ),
        ("no marks", marks("", ""), PemError::Loose(loose)),
        (
            "no BEGIN mark",
            marks("", "-----END CERTIFICATE-----"),
            PemError::Loose(loose),
        ),
        (
            "an END mark alone",
            "-----END CERTIFICATE-----\n".to_owned(),
            PemError::Mark(second),
        ),
        (
            "no END mark",
            marks("-----BEGIN CERTIFICATE-----", ""),
            PemError::Unfinished {
                line: second,
                label: "CERTIFICATE".to_owned(),
            },
        ),
        (
            "another END mark",
            marks("-----BEGIN CERTIFICATE-----", "-----END X509 CRL-----"),
            PemError::Unfinished {
                line: second,
                label: "CERTIFICATE".to_owned(),
            },
        ),
        (
            "six dashes at the end",
            marks("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE------"),
            PemError::Mark(last),
        ),
        ("zeros", "\0".repeat(512), PemError::Zeros(second)),
    ] {
        let text = format!("{one}{added}");
        assert_eq!(
            certificates(text.as_bytes()),
            Err(expected.clone().into()),
            "{what}"
        );
        // The same whatever stands behind it.
        let error = certificates(format!("{text}\n{one}").as_bytes());
        assert!(
            matches!(error, Err(BundleError::Pem(_))),
            "{what}: {error:?}"
        );
    }
    let mixed = [one.as_bytes(), &utf16].concat();
    assert_eq!(certificates(&mixed), Err(PemError::Zeros(second).into()));
    let json = one.replace('\n', "\\n");
    let error = certificates(json.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("line 1: ") && error.contains("printf"),
        "{error}"
    );
}

/// One character of either mark is lost, doubled, or another one: then the file is refused, or has
/// the same certificates.
#[test]
fn no_slip_in_a_mark_takes_a_certificate_out_of_the_list() {
    let (one, two) = bundle();
    let both = certificates(format!("{one}{two}").as_bytes()).unwrap();
    let text = format!("{one}{two}");
    let places = |mark: &str| -> Vec<Vec<usize>> {
        text.match_indices(mark)
            .map(|(at, mark)| (at..=at + mark.len()).collect())
            .collect()
    };
    let mut tried = 0;
    // Both marks of one block at once: then there is no other mark that misses its partner.
    for (begins, ends) in places("-----BEGIN CERTIFICATE-----")
        .iter()
        .zip(&places("-----END CERTIFICATE-----"))
    {
        for (first, second) in begins
            .iter()
            .flat_map(|first| ends.iter().map(move |second| (first, second)))
        {
            for slip in ["", "x", "-", " ", "\n", "=", "\u{2013}"] {
                let mut changed = text.clone();
                for &at in [second, first] {
                    let end = if slip.is_empty() {
                        (at + 1).min(changed.len())
                    } else {
                        at
                    };
                    changed.replace_range(at..end, slip);
                }
                tried += 1;
                match certificates(changed.as_bytes()) {
                    Ok(found) => assert_eq!(found, both, "{first} {second} {slip:?}"),
                    Err(error) => assert!(
                        matches!(error, BundleError::Pem(_)),
                        "{first} {second} {slip:?}: {error}"
                    ),
                }
            }
        }
    }
    assert!(tried > 9000, "{tried}");
}

#[test]
fn der_in_place_of_pem_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |args: &str| {
        let mut openssl = std::process::Command::new("openssl");
        assert!(
            openssl
                .args(args.split(' '))
                .current_dir(dir.path())
                .output()
                .expect("openssl")
                .status
                .success(),
            "{args}"
        );
    };
    openssl("req -x509 -newkey ed25519 -nodes -keyout key.pem -out cert.pem -subj /CN=x -days 2");
    openssl("req -new -key key.pem -subj /CN=x -outform DER -out request.der");
    openssl("pkey -in key.pem -pubout -outform DER -out public.der");
    openssl("pkey -in key.pem -outform DER -out key.der");
    openssl("x509 -in cert.pem -outform DER -out cert.der");
    openssl("crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out bundle.p7b");
    openssl("crl2pkcs7 -nocrl -certfile cert.pem -out bundle.p7");
    openssl("pkcs12 -export -inkey key.pem -in cert.pem -passout pass: -out store.p12");
    openssl("pkcs8 -topk8 -in key.pem -passout pass:x -outform DER -out encrypted.der");
    openssl("pkcs8 -topk8 -v1 PBE-SHA1-3DES -in key.pem -passout pass:x -outform DER -out old.der");
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(
        certificates(&read("cert.der")).map(|found| found.len()),
        Ok(1)
    );
    for (file, words) in [
        ("request.der", "certificate request"),
        ("public.der", "a public key"),
        ("key.der", "a private key"),
        ("bundle.p7b", "openssl pkcs7 -inform DER"),
        ("bundle.p7", "openssl pkcs7 -in"),
        ("store.p12", "openssl pkcs12 -in"),
        ("encrypted.der", "a private key"),
        ("old.der", "a private key"),
    ] {
        let error = certificates(&read(file)).unwrap_err().to_string();
        assert!(error.contains(words), "{file}: {error}");
    }
    let der = read("cert.der");
    for cut in 2..der.len() {
        let error = certificates(&der[..cut]).unwrap_err().to_string();
        assert!(error.contains("it is cut off"), "{cut}: {error}");
    }
}
