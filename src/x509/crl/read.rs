//! One list from its DER (RFC 5280 §5.1), or, in words, why it cannot be used.
//!
//! A list is read whole or not at all: an entry that is skipped would be a certificate that comes
//! back. So it is taken apart here, to the last byte, and not by a parser that stops at the first
//! entry it does not understand.

use std::ops::Range;
use std::time::SystemTime;

use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::x509::crl::scope::Scope;
use crate::x509::der::{self, DerReader, significant};
use crate::x509::identity::distinguished_name;
use crate::x509::time::system_time;

/// The contents of a list.
#[derive(Debug)]
pub(super) struct Contents {
    /// The issuer's name with its SEQUENCE.
    pub(super) issuer_name: Vec<u8>,
    pub(super) issuer: String,
    /// The key identifier of its issuer, if it says so.
    pub(super) key_id: Option<Vec<u8>>,
    /// Since when it counts, and when the next one is due at the latest.
    pub(super) dates: (SystemTime, SystemTime),
    /// As an unsigned integer without leading zeros; nothing where it has none.
    pub(super) number: Vec<u8>,
    pub(super) scope: Scope,
    /// Where in the DER the revoked serial numbers stand, sorted by what is there.
    pub(super) serials: Vec<Range<u32>>,
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, in which the extensions stand.
const EXTENSIONS: u8 = 0xa0;

const DAMAGED: &str = "it is damaged, or no revocation list";

/// Reads the list `der`.
pub(super) fn read(der: &[u8]) -> Result<Contents, String> {
    let damaged = || DAMAGED.to_owned();
    let mut outer = DerReader(der);
    let list = outer.expect(der::SEQUENCE).ok_or_else(damaged)?;
    if !outer.is_empty() {
        return Err(format!("{} bytes follow it", outer.0.len()));
    }
    let mut outer = DerReader(list.content);
    let mut tbs = DerReader(outer.expect(der::SEQUENCE).ok_or_else(damaged)?.content);
    let (algorithm, _) = der::algorithm_and_bits(outer.0).ok_or_else(damaged)?;
    let version = tbs.optional(der::INTEGER).map(|version| version.content);
    let inner = tbs.expect(der::SEQUENCE).ok_or_else(damaged)?.content;
    if inner != algorithm {
        return Err("it names two kinds of signature, one inside and one outside".to_owned());
    }
    let name = tbs.expect(der::SEQUENCE).ok_or_else(damaged)?;
    let (_, parsed) = X509Name::from_der(name.whole).map_err(|_| damaged())?;
    match version {
        Some([1]) => {}
        None | Some([0]) => return Err(VERSION_1.to_owned()),
        Some(_) => {
            return Err(
                "it is of a version that is not known; X.509 has lists of version 1 and 2"
                    .to_owned(),
            );
        }
    }
    let this_update = time(&mut tbs).flatten().ok_or_else(damaged)?;
    let next_update = time(&mut tbs)
        .ok_or_else(|| NO_NEXT_UPDATE.to_owned())?
        .ok_or_else(damaged)?;
    let mut contents = Contents {
        issuer: distinguished_name(&parsed),
        issuer_name: name.whole.to_vec(),
        key_id: None,
        dates: (this_update, next_update),
        number: Vec::new(),
        scope: Scope::default(),
        serials: Vec::new(),
    };
    if let Some(entries) = tbs.optional(der::SEQUENCE) {
        contents.serials = serials(der, entries.content)?;
    }
    let Some(extensions) = tbs.optional(EXTENSIONS) else {
        return Err(NO_EXTENSIONS.to_owned());
    };
    if !tbs.is_empty() {
        return Err(damaged());
    }
    contents.extensions(der::only(extensions.content, der::SEQUENCE).ok_or_else(damaged)?)?;
    Ok(contents)
}

impl Contents {
    fn extensions(&mut self, content: &[u8]) -> Result<(), String> {
        let damaged = |what: &str| format!("its {what} cannot be read");
        let mut reader = DerReader(content);
        let mut seen: Vec<&[u8]> = Vec::new();
        while !reader.is_empty() {
            let extension = reader
                .expect(der::SEQUENCE)
                .and_then(|extension| der::extension(extension.content));
            let (oid, critical, value) = extension.ok_or_else(|| damaged("list of extensions"))?;
            let name = der::dotted(oid);
            if seen.contains(&oid) {
                return Err(format!("it has the extension {name} twice"));
            }
            seen.push(oid);
            match &*name {
                "2.5.29.20" => {
                    let number = der::only(value, der::INTEGER).filter(|number| !number.is_empty());
                    let number = number.ok_or_else(|| damaged("cRLNumber"))?;
                    if number[0] & 0x80 != 0 || number.len() > 21 {
                        return Err(
                            "its cRLNumber is negative, or has more than 20 bytes".to_owned()
                        );
                    }
                    let zeros = number.iter().take_while(|byte| **byte == 0).count();
                    self.number = number[zeros..].to_vec();
                }
                "2.5.29.27" => return Err("it is a delta list; give the complete one".to_owned()),
                "2.5.29.28" => self.scope = Scope::parse(value)?,
                "2.5.29.35" => {
                    let fields = der::only(value, der::SEQUENCE)
                        .ok_or_else(|| damaged("authorityKeyIdentifier"))?;
                    // `[0] IMPLICIT`, before the issuer's name and serial number.
                    self.key_id = DerReader(fields)
                        .optional(0x80)
                        .map(|id| id.content.to_vec());
                }
                _ if critical => {
                    return Err(format!(
                        "it has a critical extension that is not understood, {name}"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The next value, if it is a time: nothing in it if it cannot be read.
fn time(reader: &mut DerReader<'_>) -> Option<Option<SystemTime>> {
    let value = reader
        .optional(UTC_TIME)
        .or_else(|| reader.optional(GENERALIZED_TIME))?;
    Some(
        ASN1Time::from_der(value.whole)
            .ok()
            .map(|(_, time)| system_time(time)),
    )
}

/// The places of the serial numbers in `entries`, which are a part of `der`.
fn serials(der: &[u8], entries: &[u8]) -> Result<Vec<Range<u32>>, String> {
    let mut serials = Vec::new();
    let mut reader = DerReader(entries);
    while !reader.is_empty() {
        let damaged = || format!("its entry {} cannot be read", serials.len() + 1);
        let entry = reader.expect(der::SEQUENCE).ok_or_else(damaged)?;
        let mut fields = DerReader(entry.content);
        let serial = fields
            .expect(der::INTEGER)
            .filter(|serial| !serial.content.is_empty())
            .ok_or_else(damaged)?;
        time(&mut fields).flatten().ok_or_else(damaged)?;
        if let Some(extensions) = fields.optional(der::SEQUENCE) {
            entry_extensions(extensions.content, serials.len() + 1)?;
        }
        if !fields.is_empty() {
            return Err(damaged());
        }
        let start = serial.content.as_ptr().addr() - der.as_ptr().addr();
        let place = u32::try_from(start)
            .ok()
            .zip(u32::try_from(start + serial.content.len()).ok());
        let (start, end) = place.ok_or_else(|| "it is larger than 4 GiB".to_owned())?;
        serials.push(start..end);
    }
    serials.sort_unstable_by(|one, other| at(der, one).cmp(at(der, other)));
    serials.shrink_to_fit();
    Ok(serials)
}

fn entry_extensions(content: &[u8], entry: usize) -> Result<(), String> {
    let mut reader = DerReader(content);
    while !reader.is_empty() {
        let extension = reader
            .expect(der::SEQUENCE)
            .and_then(|extension| der::extension(extension.content));
        let (oid, critical, _) =
            extension.ok_or_else(|| format!("its entry {entry} cannot be read"))?;
        match &*der::dotted(oid) {
            // reasonCode and invalidityDate: revoked is revoked.
            "2.5.29.21" | "2.5.29.24" => {}
            "2.5.29.29" => return Err(super::scope::INDIRECT.to_owned()),
            name if critical => {
                return Err(format!(
                    "its entry {entry} has a critical extension that is not understood, {name}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The serial number at `place`, without leading zeros.
pub(super) fn at<'a>(der: &'a [u8], place: &Range<u32>) -> &'a [u8] {
    significant(
        der.get(place.start as usize..place.end as usize)
            .unwrap_or_default(),
    )
}

const VERSION_1: &str = "it is a list of version 1, as `openssl ca -gencrl` writes it without extensions; issue it with \
    extensions (version 2): in the configuration of openssl, `crlnumber = FILE` and `crl_extensions = crl_ext`, and \
    `[crl_ext]` with `authorityKeyIdentifier = keyid:always`";

const NO_EXTENSIONS: &str = "it has no extensions, neither authorityKeyIdentifier nor cRLNumber (RFC 5280 §5.2); issue it \
    with them: in the configuration of openssl, `crlnumber = FILE` and `crl_extensions = crl_ext`, and `[crl_ext]` with \
    `authorityKeyIdentifier = keyid:always`";

const NO_NEXT_UPDATE: &str = "it does not say when the next one is due (nextUpdate), so nobody could tell that it is out of \
    date; issue it with that: `-crldays 30` of `openssl ca -gencrl`, or `default_crl_days`";
