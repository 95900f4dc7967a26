//! Scope of a revocation list: the certificates of its issuer that it is about (RFC 5280 §5.2.5).

use x509_parser::certificate::X509Certificate;

use crate::x509::der::{self, DerReader};

/// The scope of a list: everything, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// Only certificates of authorities, or only others.
    authorities: Option<bool>,
    /// Only certificates that name one of these distribution points: GeneralNames in DER.
    points: Option<Vec<Vec<u8>>>,
}

pub(super) const INDIRECT: &str = "it is an indirect list, about certificates of other issuers, which is not understood; \
    give one list of each CA";

const USERS: u8 = 0x81;
const AUTHORITIES: u8 = 0x82;
const REASONS: u8 = 0x83;
const INDIRECT_LIST: u8 = 0x84;
const ATTRIBUTES: u8 = 0x85;
/// `[0]`: the point of a list or of a certificate, in it the full name, and in a list the fields
/// above.
const POINT: u8 = 0xa0;

impl Scope {
    /// The value of an issuingDistributionPoint.
    pub(super) fn parse(value: &[u8]) -> Result<Self, String> {
        let damaged = || "its issuingDistributionPoint cannot be read".to_owned();
        let mut scope = Self::default();
        let mut reader = DerReader(der::only(value, der::SEQUENCE).ok_or_else(damaged)?);
        while !reader.is_empty() {
            let field = reader.next().ok_or_else(damaged)?;
            if field.tag == POINT {
                let names = full_name(field.content).filter(|names| !names.is_empty());
                let names = names.ok_or_else(|| {
                    "its distribution point is written relative to the issuer's name, which \
                    is not understood; issue it with a full name"
                        .to_owned()
                })?;
                scope.points = Some(names.into_iter().map(<[u8]>::to_vec).collect());
                continue;
            }
            if field.tag == REASONS {
                return Err("it is about some reasons only; give one for all reasons".to_owned());
            }
            match (field.tag, field.content) {
                (USERS | AUTHORITIES | INDIRECT_LIST | ATTRIBUTES, [0]) => {}
                (USERS, [0xff]) if scope.authorities.is_none() => scope.authorities = Some(false),
                (AUTHORITIES, [0xff]) if scope.authorities.is_none() => {
                    scope.authorities = Some(true)
                }
                (INDIRECT_LIST, [0xff]) => return Err(INDIRECT.to_owned()),
                (ATTRIBUTES, [0xff]) => {
                    return Err(
                        "it is about attribute certificates, which TLS does not have".to_owned(),
                    );
                }
                _ => return Err(damaged()),
            }
        }
        Ok(scope)
    }

    /// Whether it is about `certificate`, which is an authority's or not.
    pub(super) fn covers(&self, certificate: &X509Certificate<'_>, authority: bool) -> bool {
        if self
            .authorities
            .is_some_and(|authorities| authorities != authority)
        {
            return false;
        }
        let Some(points) = &self.points else {
            return true;
        };
        // A certificate that names no point may be on any part of a divided list: which, is not
        // known.
        points_of(certificate)
            .iter()
            .any(|name| points.iter().any(|point| point == name))
    }

    /// Whether it is about every certificate that is no authority's.
    pub(super) fn is_whole(&self) -> bool {
        self.points.is_none() && self.authorities != Some(true)
    }
}

/// The names of the distribution points of a certificate (RFC 5280 §4.2.1.13) whose lists are whole
/// and its issuer's own.
fn points_of<'a>(certificate: &X509Certificate<'a>) -> Vec<&'a [u8]> {
    const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
    let extension = certificate
        .extensions()
        .iter()
        .find(|found| found.oid.to_id_string() == CRL_DISTRIBUTION_POINTS);
    let Some(points) = extension.and_then(|found| der::only(found.value, der::SEQUENCE)) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    let mut points = DerReader(points);
    while let Some(point) = points.expect(der::SEQUENCE) {
        let mut fields = DerReader(point.content);
        let name = fields
            .optional(POINT)
            .and_then(|name| full_name(name.content));
        // Behind the name stand reasons and another issuer of the list.
        if fields.is_empty() {
            names.extend(name.unwrap_or_default());
        }
    }
    names
}

/// The GeneralNames of a DistributionPointName, if it is a full name.
fn full_name(content: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = DerReader(der::only(content, POINT)?);
    let mut names = Vec::new();
    while !reader.is_empty() {
        names.push(reader.next()?.whole);
    }
    Some(names)
}
