//! A back end in a machine file: a box, which is shared from then on.

use super::{Backend, VirtioDevice};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(backend: &Option<Backend>, to: S) -> Result<S::Ok, S::Error> {
    backend.as_deref().serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Backend>, D::Error> {
    Ok(Option::<Box<dyn VirtioDevice>>::deserialize(from)?.map(Backend::from))
}

/// One that there has to be.
pub(super) mod required {
    use super::super::{Backend, VirtioDevice};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(backend: &Backend, to: S) -> Result<S::Ok, S::Error> {
        (**backend).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Backend, D::Error> {
        Box::<dyn VirtioDevice>::deserialize(from).map(Backend::from)
    }
}
