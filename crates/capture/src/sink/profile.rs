//! What each mesh does to a request on its way to a mirror, and how it is undone.
//! Pure: from the authority and the fields as received to what is to be changed in
//! the record. Measured on real meshes; `docs/mesh.md` has the table.

use std::str::FromStr;

use umbra_record::{
    authority::{SUFFIX, strip_suffix},
    fields::{self, Fields},
};

/// How an agent records what a mesh mirrors to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sink {
    /// Who mirrors.
    pub profile: Profile,
    /// Whether the mirror's suffix is taken off the authority.
    pub suffix: Suffix,
    /// Whether path and host as they were before the mesh's own rewriting are put
    /// back, where it tells them.
    pub original: bool,
}

/// Who mirrors, and so what has been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Nobody who changes anything: recorded as received.
    Plain,
    /// Envoy, as it is by itself.
    Envoy,
    /// Istio's sidecars, gateways and waypoints.
    Istio,
    /// An implementation of the Gateway API, whichever it is.
    GatewayApi,
    /// nginx and its `mirror`.
    Nginx,
}

/// What becomes of a `-shadow` at the end of the authority's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffix {
    /// One is taken off if it is there: the mesh appends it.
    Strip,
    /// It stays: the mesh does not append it.
    Keep,
}

/// A request as a profile sees it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) authority: &'a [u8],
    pub(crate) fields: &'a dyn Fields,
}

/// What is different in the record. Nothing: as received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) authority: Option<Vec<u8>>,
    /// Path and query.
    pub(crate) target: Option<Vec<u8>>,
    /// Fields by their place, in order.
    pub(crate) fields: Vec<(usize, Change)>,
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The mesh has added it.
    Drop,
    /// This was its value.
    Value(Vec<u8>),
}

/// Added by Envoy's mirroring (`-internal`) or its router on the way to any
/// upstream. What a client or an operator says to Envoy (`x-envoy-retry-on`) is
/// taken out by Envoy itself and never arrives.
const OF_ENVOY: [&str; 3] =
    ["x-envoy-internal", "x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count"];

/// Istio's exchange of workload metadata between its proxies, beside those of Envoy.
const OF_ISTIO: [&str; 3] =
    ["x-envoy-decorator-operation", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id"];

/// The sign of a request that Envoy's mirroring itself has made.
const MADE_BY_ENVOY: &str = "x-envoy-internal";

const ORIGINAL_PATH: &str = "x-envoy-original-path";
const ORIGINAL_HOST: &str = "x-envoy-original-host";
const FORWARDED_FOR: &str = "x-forwarded-for";

impl Sink {
    /// A sink as the profile has it by default.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { profile, suffix: profile.suffix(), original: false }
    }

    /// What the mesh has changed, to be undone in the record.
    pub(crate) fn restore(&self, view: View<'_>) -> Restored {
        let mut restored = Restored::default();
        if self.suffix == Suffix::Strip {
            restored.authority = strip_suffix(view.authority, SUFFIX);
        }
        let envoy = self.profile.is_envoy(view.fields);
        let appended = self.appended(view.fields);
        for (index, (name, value)) in fields::iter(view.fields).enumerate() {
            let change = if appended == Some(index) {
                Some(without_last(value))
            } else if self.profile.adds(name, envoy) {
                Some(Change::Drop)
            } else {
                self.put_back(name, value, &mut restored)
            };
            restored.fields.extend(change.map(|change| (index, change)));
        }
        restored
    }

    /// What tells one client's requests from another's, since the mesh's connections
    /// do not: its address as the first hop saw it, else the id of the request. Never
    /// what the mirror itself has put there.
    pub(crate) fn client<'a>(&self, view: View<'a>) -> Option<&'a [u8]> {
        let own = self.appended(view.fields);
        // What nginx appends is the client's own address; others append their own.
        let own = own.filter(|_| self.profile != Profile::Nginx);
        let address = fields::iter(view.fields).enumerate().find_map(|(index, (name, value))| {
            name.eq_ignore_ascii_case(FORWARDED_FOR.as_bytes()).then_some(())?;
            let value = match (own == Some(index), last_comma(value)) {
                (false, _) => value,
                (true, Some(comma)) => &value[..comma],
                (true, None) => return None,
            };
            let mut elements = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            elements.find(|element| !element.is_empty())
        });
        address.or_else(|| fields::first(view.fields, "x-request-id"))
    }

    /// The field whose last element the mirroring hop has appended.
    fn appended(&self, fields: &dyn Fields) -> Option<usize> {
        let appends = match self.profile {
            Profile::Plain => false,
            Profile::Envoy | Profile::Istio | Profile::Nginx => true,
            Profile::GatewayApi => self.profile.is_envoy(fields),
        };
        let of_that_name =
            |&index: &usize| fields.field(index).0.eq_ignore_ascii_case(FORWARDED_FOR.as_bytes());
        (0..fields.count()).rev().find(of_that_name).filter(|_| appends)
    }

    /// Path and host before the mesh's rewriting.
    fn put_back(&self, name: &[u8], value: &[u8], restored: &mut Restored) -> Option<Change> {
        if !self.original || matches!(self.profile, Profile::Plain | Profile::Nginx) {
            return None;
        }
        if name.eq_ignore_ascii_case(ORIGINAL_PATH.as_bytes()) && is_target(value) {
            restored.target = Some(value.to_vec());
        } else if name.eq_ignore_ascii_case(ORIGINAL_HOST.as_bytes()) && is_authority(value) {
            restored.authority = Some(value.to_vec());
        } else {
            return None;
        }
        Some(Change::Drop)
    }
}

impl Profile {
    /// All of them, by their names.
    pub const NAMES: [(&str, Self); 5] = [
        ("plain", Self::Plain),
        ("envoy", Self::Envoy),
        ("istio", Self::Istio),
        ("gateway-api", Self::GatewayApi),
        ("nginx", Self::Nginx),
    ];

    /// Whether the mesh appends `-shadow`, as far as is known: Envoy and Istio before
    /// 1.28 do unless told otherwise, and a later Istio does not.
    fn suffix(self) -> Suffix {
        match self {
            Self::Envoy | Self::Istio => Suffix::Strip,
            Self::Plain | Self::GatewayApi | Self::Nginx => Suffix::Keep,
        }
    }

    /// Whether Envoy's mirroring has made the request.
    fn is_envoy(self, fields: &dyn Fields) -> bool {
        match self {
            Self::Envoy | Self::Istio => true,
            Self::GatewayApi => fields::first(fields, MADE_BY_ENVOY).is_some(),
            Self::Plain | Self::Nginx => false,
        }
    }

    fn adds(self, name: &[u8], envoy: bool) -> bool {
        let among = |names: &[&str]| names.iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()));
        match self {
            // Of nginx's own connection to the mirror: the client's never gets here.
            Self::Nginx => among(&["connection"]),
            _ if !envoy => false,
            // Which Envoy it is that implements the Gateway API, nobody says.
            Self::Istio | Self::GatewayApi => among(&OF_ENVOY) || among(&OF_ISTIO),
            _ => among(&OF_ENVOY),
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, profile)| *profile).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

impl Restored {
    /// The record is as received.
    pub(crate) fn is_nothing(&self) -> bool {
        self.authority.is_none() && self.target.is_none() && self.fields.is_empty()
    }

    /// What becomes of the field at this place.
    pub(crate) fn of(&self, index: usize) -> Option<&Change> {
        let found = self.fields.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(&self.fields[found].1)
    }
}

fn last_comma(list: &[u8]) -> Option<usize> {
    list.iter().rposition(|&byte| byte == b',')
}

/// The list without its last element; without any, there was no such field.
fn without_last(list: &[u8]) -> Change {
    match last_comma(list) {
        Some(comma) => Change::Value(list[..comma].trim_ascii_end().to_vec()),
        None => Change::Drop,
    }
}

/// What may stand in a request line: what the mesh tells is not taken on trust.
fn is_target(value: &[u8]) -> bool {
    value.first() == Some(&b'/') && value.iter().all(|&byte| crate::h1::is_target_byte(byte))
}

fn is_authority(value: &[u8]) -> bool {
    !value.is_empty() && crate::h1::is_valid_host(value)
}

#[cfg(test)]
mod tests;
