//! Chains of other keys and signatures.

use super::draft::*;
use super::*;

/// The key of one certificate, and how its signatures are made.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let plain = |dots: &str| der(SEQ, &[&oid(dots)]);
    let rsa = |dots: &str| der(SEQ, &[&oid(dots), &[5, 0]]);
    let pss = |hash: &str, mask: &str, salt: u8| {
        let hash_of = |hash: &str| der(SEQ, &[&oid(hash), &[5, 0]]);
        let mask = der(SEQ, &[&oid("1.2.840.113549.1.1.8"), &hash_of(mask)]);
        let parameters = der(
            SEQ,
            &[
                &der(0xa0, &[&hash_of(hash)]),
                &der(0xa1, &[&mask]),
                &der(0xa2, &[&der(INT, &[&[salt]])]),
            ],
        );
        der(SEQ, &[&oid("1.2.840.113549.1.1.10"), &parameters])
    };
    const SHA256: &str = "2.16.840.1.101.3.4.2.1";
    const SHA384: &str = "2.16.840.1.101.3.4.2.2";
    const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
    let cases: &[(&str, &str, Vec<u8>, &str)] = &[
        (
            "RSA 2048, SHA-256",
            RSA,
            rsa("1.2.840.113549.1.1.11"),
            " -digest sha256",
        ),
        (
            "RSA 2048, SHA-384",
            RSA,
            rsa("1.2.840.113549.1.1.12"),
            " -digest sha384",
        ),
        (
            "RSA 2048, SHA-512",
            RSA,
            rsa("1.2.840.113549.1.1.13"),
            " -digest sha512",
        ),
        (
            "RSA 2048, SHA-224",
            RSA,
            rsa("1.2.840.113549.1.1.14"),
            " -digest sha224",
        ),
        (
            "RSA 2048, SHA-1",
            RSA,
            rsa("1.2.840.113549.1.1.5"),
            " -digest sha1",
        ),
        (
            "RSA 2048, MD5",
            RSA,
            rsa("1.2.840.113549.1.1.4"),
            " -digest md5",
        ),
        (
            "RSA 2048, without NULL",
            RSA,
            plain("1.2.840.113549.1.1.11"),
            " -digest sha256",
        ),
        (
            "RSA 2048, PSS, salt 32",
            RSA,
            pss(SHA256, SHA256, 32),
            " -digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:32",
        ),
        (
            "RSA 2048, PSS, salt 48",
            RSA,
            pss(SHA384, SHA384, 48),
            " -digest sha384 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:48",
        ),
        (
            "RSA 2048, PSS, salt 20",
            RSA,
            pss(SHA256, SHA256, 20),
            " -digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:20",
        ),
        (
            "RSA 2048, PSS, mask of another digest",
            RSA,
            pss(SHA256, SHA384, 32),
            " -digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:32 -pkeyopt rsa_mgf1_md:sha384",
        ),
        (
            "RSA 1024",
            "-algorithm RSA -pkeyopt rsa_keygen_bits:1024",
            rsa("1.2.840.113549.1.1.11"),
            " -digest sha256",
        ),
        (
            "RSA-PSS key",
            "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            pss(SHA256, SHA256, 32),
            " -digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:32",
        ),
        (
            "P-256, SHA-1",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            plain("1.2.840.10045.4.1"),
            " -digest sha1",
        ),
        (
            "P-256, SHA-384",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            plain("1.2.840.10045.4.3.3"),
            " -digest sha384",
        ),
        (
            "P-384, SHA-256",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
            plain("1.2.840.10045.4.3.2"),
            " -digest sha256",
        ),
        (
            "P-384, SHA-384",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
            plain("1.2.840.10045.4.3.3"),
            " -digest sha384",
        ),
        (
            "P-521, SHA-512",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-521",
            plain("1.2.840.10045.4.3.4"),
            " -digest sha512",
        ),
        (
            "P-224, SHA-256",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-224",
            plain("1.2.840.10045.4.3.2"),
            " -digest sha256",
        ),
        (
            "secp256k1, SHA-256",
            "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
            plain("1.2.840.10045.4.3.2"),
            " -digest sha256",
        ),
        ("Ed25519", "-algorithm ED25519", plain("1.3.101.112"), ""),
        ("Ed448", "-algorithm ED448", plain("1.3.101.113"), ""),
    ];
    for (name, generate, algorithm, sign) in cases {
        let signer = Arc::new(Signer::by_openssl(generate, algorithm.clone(), sign));
        for (at, level) in ["root", "issuing", "client"].into_iter().enumerate() {
            let mut plan = Plan::new();
            plan.signers[at] = Arc::clone(&signer);
            rows.push((format!("key of {level}: {name}"), plan));
        }
    }
    rows
}
