//! A position in the text that moves with it: Yjs's relative position, in the JSON format of Yjs's own editors.

use serde::{Deserialize, Serialize};
use yrs::{Assoc, ClientID, ID, IndexScope, StickyIndex};

use crate::collab::protocol::MAX_NUMBER;

/// A position next to a character, which stays valid when the text around it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelativePosition {
    /// The nested type that contains it; never set for a root text.
    #[serde(default)]
    r#type: Option<Unit>,
    /// The root type that contains it.
    #[serde(default)]
    tname: Option<String>,
    /// The character; `None` means the beginning or the end of the text.
    #[serde(default)]
    item: Option<Unit>,
    /// Negative: after the character, so that text inserted at the position comes behind it. Otherwise before the
    /// character.
    #[serde(default)]
    assoc: i32,
}

/// A unit of the document: its client and its index among that client's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unit {
    client: u64,
    clock: u32,
}

impl RelativePosition {
    /// `root` is the name of the text.
    pub fn new(index: &StickyIndex, root: &str) -> Self {
        Self {
            r#type: None,
            tname: Some(root.to_owned()),
            item: index.id().map(|id| Unit {
                client: id.client.get(),
                clock: id.clock,
            }),
            assoc: match index.assoc {
                Assoc::Before => -1,
                Assoc::After => 0,
            },
        }
    }

    /// `None` if the position cannot exist.
    pub fn to_sticky(&self) -> Option<StickyIndex> {
        let id = |unit: &Unit| {
            // A larger id would be mistaken for another client's.
            (unit.client <= MAX_NUMBER).then(|| ID::new(ClientID::new(unit.client), unit.clock))
        };
        let scope = match self {
            Self {
                item: Some(unit), ..
            } => IndexScope::Relative(id(unit)?),
            Self {
                r#type: Some(unit), ..
            } => IndexScope::Nested(id(unit)?),
            Self { tname, .. } => IndexScope::Root(tname.as_deref()?.into()),
        };
        let assoc = if self.assoc < 0 {
            Assoc::Before
        } else {
            Assoc::After
        };
        Some(StickyIndex::new(scope, assoc))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn positions_are_written_as_yjs_writes_them_and_read_in_all_its_forms() {
        let index = StickyIndex::from_id(ID::new(ClientID::new(7), 3), Assoc::Before);
        let position = RelativePosition::new(&index, "content");
        let json = json!({"type": null, "tname": "content", "item": {"client": 7, "clock": 3}, "assoc": -1});
        assert_eq!(serde_json::to_value(&position).unwrap(), json);
        assert_eq!(position.to_sticky(), Some(index));
        // `Y.relativePositionToJSON` omits null fields.
        let short: RelativePosition =
            serde_json::from_value(json!({"tname": "content", "assoc": 0, "new": 1})).unwrap();
        assert_eq!(
            short.to_sticky(),
            Some(StickyIndex::new(
                IndexScope::Root("content".into()),
                Assoc::After
            ))
        );
        let hostile: RelativePosition =
            serde_json::from_value(json!({"item": {"client": 1u64 << 60, "clock": 0}})).unwrap();
        assert_eq!(hostile.to_sticky(), None);
        assert_eq!(
            serde_json::from_value::<RelativePosition>(json!({}))
                .unwrap()
                .to_sticky(),
            None
        );
    }
}
