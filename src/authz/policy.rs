//! Policy: of the clients whose certificate verifies, none that is denied comes in, and, where
//! there is an allow list, only those that stand on it.

use std::fmt;

use thiserror::Error;

use crate::addr::Cidr;
use crate::authz::entry::{
    CommonName, DnsPattern, EmailAddress, IssuerName, Organization, OrganizationalUnit,
    PolicyEntry, PrincipalName, Serial, SpkiDigest, SubjectName, UriPattern,
};
use crate::authz::identity::{Identity, printable};

/// The policy that admits or refuses clients with a verified identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The allow list: where there is one, only clients that one of its entries names.
    pub allow: Option<Rules>,
    /// No client that one of these names, allowed or not.
    pub deny: Rules,
}

/// Entries of which each names clients. Several texts of one kind in a certificate are as good as
/// one: an entry names a certificate if it matches any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// DNS names among the subjectAltNames.
    pub dns: Vec<DnsPattern>,
    /// URIs among the subjectAltNames.
    pub uri: Vec<UriPattern>,
    /// Mail addresses among the subjectAltNames.
    pub email: Vec<EmailAddress>,
    /// Common names of the subject.
    pub cn: Vec<CommonName>,
    /// Organizational units of the subject.
    pub ou: Vec<OrganizationalUnit>,
    /// IP addresses among the subjectAltNames.
    pub ip: Vec<Cidr>,
    /// Microsoft principal names among the subjectAltNames.
    pub upn: Vec<PrincipalName>,
    /// Organizations of the subject.
    pub o: Vec<Organization>,
    /// Whole subjects.
    pub subject: Vec<SubjectName>,
    /// Issuers, by their whole names.
    pub issuer: Vec<IssuerName>,
    /// Public keys.
    pub spki_sha256: Vec<SpkiDigest>,
    /// Serial numbers. Two authorities may use the same one.
    pub serial: Vec<Serial>,
}

/// Why a client whose certificate verifies does not come in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// An entry of the deny list names it.
    #[error("client_auth.deny.{key} names it: {entry}")]
    Listed {
        /// The list that the entry stands in.
        key: &'static str,
        /// The entry, fit for a log.
        entry: String,
    },
    /// There is an allow list, and none of its entries names it.
    #[error("nothing in client_auth.allow names it")]
    NotAllowed,
}

impl Policy {
    /// Whether a client comes in whose certificate has been verified.
    ///
    /// # Errors
    ///
    /// When it does not, with the reason.
    pub fn check(&self, identity: &Identity) -> Result<(), Denied> {
        if let Some((key, entry)) = self.deny.find(identity, Reading::Wide) {
            return Err(Denied::Listed {
                key,
                entry: printable(&entry.to_string()),
            });
        }
        match &self.allow {
            Some(allow) if allow.find(identity, Reading::Strict).is_none() => {
                Err(Denied::NotAllowed)
            }
            _ => Ok(()),
        }
    }
}

impl Rules {
    /// The lists that are not empty, each with its key and its entries as they would be written.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, Vec<String>)> {
        fn texts<T: fmt::Display>(entries: &[T]) -> Vec<String> {
            entries
                .iter()
                .map(|entry| printable(&entry.to_string()))
                .collect()
        }
        let Self {
            dns,
            uri,
            email,
            ip,
            upn,
            cn,
            ou,
            o,
            subject,
            issuer,
            spki_sha256,
            serial,
        } = self;
        let all = [
            ("dns", texts(dns)),
            ("uri", texts(uri)),
            ("email", texts(email)),
            ("cn", texts(cn)),
            ("ip", texts(ip)),
            ("upn", texts(upn)),
            ("ou", texts(ou)),
            ("o", texts(o)),
            ("subject", texts(subject)),
            ("issuer", texts(issuer)),
            ("spki_sha256", texts(spki_sha256)),
            ("serial", texts(serial)),
        ];
        all.into_iter()
            .filter(|(_, entries)| !entries.is_empty())
            .collect()
    }

    /// Whether there is no entry, so that no client is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The first entry that names `identity`, and the list that it stands in.
    fn find(
        &self,
        identity: &Identity,
        reading: Reading,
    ) -> Option<(&'static str, &dyn fmt::Display)> {
        let Self {
            dns,
            uri,
            email,
            ip,
            upn,
            cn,
            ou,
            o,
            subject,
            issuer,
            spki_sha256,
            serial,
        } = self;
        let wanted = (identity, reading);
        first("dns", dns, wanted)
            .or_else(|| first("uri", uri, wanted))
            .or_else(|| first("email", email, wanted))
            .or_else(|| first("cn", cn, wanted))
            .or_else(|| first("ip", ip, wanted))
            .or_else(|| first("upn", upn, wanted))
            .or_else(|| first("ou", ou, wanted))
            .or_else(|| first("o", o, wanted))
            .or_else(|| first("subject", subject, wanted))
            .or_else(|| first("issuer", issuer, wanted))
            .or_else(|| first("spki_sha256", spki_sha256, wanted))
            .or_else(|| first("serial", serial, wanted))
    }
}

/// How an entry is read where a certificate is not written as the entry is.
#[derive(Clone, Copy)]
enum Reading {
    /// It names what it says: who comes in.
    Strict,
    /// It names what may be meant: who must not come in.
    Wide,
}

/// The first of `entries` that names `identity`, under the name of their list.
fn first<'a, T: PolicyEntry>(
    key: &'static str,
    entries: &'a [T],
    (identity, reading): (&Identity, Reading),
) -> Option<(&'static str, &'a dyn fmt::Display)> {
    let names = |entry: &&T| match reading {
        Reading::Strict => entry.names(identity),
        Reading::Wide => entry.may_name(identity),
    };
    entries
        .iter()
        .find(names)
        .map(|entry| (key, entry as &dyn fmt::Display))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authz::identity::AltName;

    /// A client that can be named in every way.
    fn web() -> Identity {
        Identity {
            common_names: vec!["web".to_owned()],
            organizational_units: vec!["shop".to_owned()],
            names: vec![
                AltName::Dns("web.example".to_owned()),
                AltName::Uri("spiffe://example.net/web".to_owned()),
                AltName::Email("web@example.net".to_owned()),
                AltName::Ip("192.0.2.7".parse().unwrap()),
                AltName::Principal("Web@example.net".to_owned()),
            ],
            organizations: vec!["Example".to_owned()],
            subject: "CN=web,O=Example".to_owned(),
            issuer: "CN=ca".to_owned(),
            serial: "0a".to_owned(),
            spki_sha256: [0x11; 32],
            ..Identity::default()
        }
    }

    /// One entry of each kind: those that name [`web`], or others.
    fn entries(right: bool) -> Vec<(&'static str, Rules)> {
        let pick = |yes: &'static str, no: &'static str| if right { yes } else { no };
        let digest = if right { "11" } else { "12" }.repeat(32);
        let none = Rules::default;
        vec![
            (
                "dns",
                Rules {
                    dns: vec![pick("*.example", "*.example.net").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "uri",
                Rules {
                    uri: vec![
                        pick("spiffe://example.net/*", "spiffe://example.net/we")
                            .parse()
                            .unwrap(),
                    ],
                    ..none()
                },
            ),
            (
                "email",
                Rules {
                    email: vec![pick("web@example.net", "x@example.net").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "cn",
                Rules {
                    cn: vec![pick("web", "shop").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "ou",
                Rules {
                    ou: vec![pick("shop", "web").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "ip",
                Rules {
                    ip: vec![pick("192.0.2.0/24", "192.0.2.8").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "upn",
                Rules {
                    upn: vec![pick("web@EXAMPLE.net", "we@example.net").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "o",
                Rules {
                    o: vec![pick("Example", "Exampl").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "subject",
                Rules {
                    subject: vec![pick("CN=web,O=Example", "CN=web").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "issuer",
                Rules {
                    issuer: vec![pick("CN=ca", "CN=ca,O=Example").parse().unwrap()],
                    ..none()
                },
            ),
            (
                "spki_sha256",
                Rules {
                    spki_sha256: vec![digest.parse().unwrap()],
                    ..none()
                },
            ),
            (
                "serial",
                Rules {
                    serial: vec![pick("A", "0B").parse().unwrap()],
                    ..none()
                },
            ),
        ]
    }

    #[test]
    fn every_kind_of_entry_allows_and_denies() {
        for (key, rules) in entries(true) {
            let allow = Policy {
                allow: Some(rules.clone()),
                ..Policy::default()
            };
            assert_eq!(allow.check(&web()), Ok(()), "{key}");
            assert_eq!(
                allow.check(&Identity::default()),
                Err(Denied::NotAllowed),
                "{key}"
            );
            let deny = Policy {
                deny: rules.clone(),
                ..Policy::default()
            };
            let (_, entry) = rules.entries().remove(0);
            assert_eq!(
                deny.check(&web()),
                Err(Denied::Listed {
                    key,
                    entry: entry[0].clone()
                }),
                "{key}"
            );
            assert_eq!(deny.check(&Identity::default()), Ok(()), "{key}");
            assert!(!rules.is_empty(), "{key}");
        }
        for (key, rules) in entries(false) {
            let allow = Policy {
                allow: Some(rules.clone()),
                ..Policy::default()
            };
            assert_eq!(allow.check(&web()), Err(Denied::NotAllowed), "{key}");
            assert_eq!(
                Policy {
                    deny: rules,
                    ..Policy::default()
                }
                .check(&web()),
                Ok(()),
                "{key}"
            );
        }
    }

    #[test]
    fn an_address_in_the_subject_denies_and_does_not_allow() {
        let identity = Identity {
            subject_emails: vec!["web@EXAMPLE.net".to_owned()],
            ..Identity::default()
        };
        let rules = Rules {
            email: vec!["web@example.net".parse().unwrap()],
            ..Rules::default()
        };
        let deny = Policy {
            deny: rules.clone(),
            ..Policy::default()
        };
        assert!(matches!(
            deny.check(&identity),
            Err(Denied::Listed { key: "email", .. })
        ));
        let allow = Policy {
            allow: Some(rules),
            ..Policy::default()
        };
        assert_eq!(allow.check(&identity), Err(Denied::NotAllowed));
    }

    #[test]
    fn case_saves_nobody_from_the_deny_list_and_lets_nobody_in() {
        let mut web = web();
        web.subject_emails = vec!["Mail@Example.net".to_owned()];
        let none = Rules::default;
        for (key, rules) in [
            (
                "email",
                Rules {
                    email: vec!["WEB@example.NET".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "email",
                Rules {
                    email: vec!["mail@example.net".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "cn",
                Rules {
                    cn: vec!["Web".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "ou",
                Rules {
                    ou: vec!["SHOP".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "o",
                Rules {
                    o: vec!["example".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "subject",
                Rules {
                    subject: vec!["cn=Web,O=example".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "issuer",
                Rules {
                    issuer: vec!["CN=CA".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "uri",
                Rules {
                    uri: vec!["SPIFFE://Example.net/web".parse().unwrap()],
                    ..none()
                },
            ),
            (
                "uri",
                Rules {
                    uri: vec!["Spiffe://example.NET/*".parse().unwrap()],
                    ..none()
                },
            ),
        ] {
            let deny = Policy {
                deny: rules.clone(),
                ..Policy::default()
            };
            assert!(
                matches!(deny.check(&web), Err(Denied::Listed { key: by, .. }) if by == key),
                "{key}"
            );
            let allow = Policy {
                allow: Some(rules),
                ..Policy::default()
            };
            assert_eq!(allow.check(&web), Err(Denied::NotAllowed), "{key}");
        }
        // The path of a URI is another one in another case.
        let path = Rules {
            uri: vec!["spiffe://example.net/WEB".parse().unwrap()],
            ..none()
        };
        assert_eq!(
            Policy {
                deny: path,
                ..Policy::default()
            }
            .check(&web),
            Ok(())
        );
    }

    #[test]
    fn an_allow_list_without_an_entry_takes_nobody_and_no_allow_list_everybody() {
        let nobody = Policy {
            allow: Some(Rules::default()),
            ..Policy::default()
        };
        assert_eq!(nobody.check(&web()), Err(Denied::NotAllowed));
        assert_eq!(Policy::default().check(&web()), Ok(()));
        assert!(Rules::default().is_empty());
    }

    #[test]
    fn the_entry_that_denies_is_shown_on_one_line() {
        let deny = Rules {
            cn: vec!["web\nserver".parse().unwrap()],
            ..Rules::default()
        };
        let identity = Identity {
            common_names: vec!["web\nserver".to_owned()],
            ..Identity::default()
        };
        let denied = Policy {
            deny,
            ..Policy::default()
        }
        .check(&identity)
        .unwrap_err();
        assert_eq!(
            denied.to_string(),
            r"client_auth.deny.cn names it: web\0aserver"
        );
    }

    /// All entries at the `chosen` places, of those that name [`web`] and of others, in one list.
    fn together(chosen: &[(bool, usize)]) -> Rules {
        let mut all = Rules::default();
        for &(right, at) in chosen {
            let Rules {
                dns,
                uri,
                email,
                ip,
                upn,
                cn,
                ou,
                o,
                subject,
                issuer,
                spki_sha256,
                serial,
            } = entries(right).swap_remove(at).1;
            all.ip.extend(ip);
            all.upn.extend(upn);
            all.o.extend(o);
            all.subject.extend(subject);
            all.issuer.extend(issuer);
            all.dns.extend(dns);
            all.uri.extend(uri);
            all.email.extend(email);
            all.cn.extend(cn);
            all.ou.extend(ou);
            all.spki_sha256.extend(spki_sha256);
            all.serial.extend(serial);
        }
        all
    }

    proptest! {
        #[test]
        fn whoever_is_denied_stays_out_and_of_the_others_those_come_in_who_are_allowed(
            allow in prop::option::of(prop::collection::vec((any::<bool>(), 0..12_usize), 0..5)),
            deny in prop::collection::vec((any::<bool>(), 0..12_usize), 0..5),
        ) {
            let policy = Policy { allow: allow.as_deref().map(together), deny: together(&deny) };
            let named = |list: &[(bool, usize)]| list.iter().any(|(right, _)| *right);
            let comes_in = !named(&deny) && allow.as_deref().is_none_or(named);
            prop_assert_eq!(policy.check(&web()).is_ok(), comes_in);
            prop_assert_eq!(matches!(policy.check(&web()), Err(Denied::Listed { .. })), named(&deny));
        }
    }
}
