//! Knows what each cgroup id stands for, from the records of event `cgroup_changes`.
//!
//! The thread that drains shows it each record as it comes out of a ring, which is before any row up to the same
//! watermark is decoded. The encoder asks when it meets an id. So a cgroup has a path however short it lived, and what
//! no record told is not known, and is said not to be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::column::{Column, Layout, Type};
use schemas::text::escape;
use schemas::wire::RecordHeader;
use zerocopy::FromBytes;

/// A cgroup that was removed is known this much longer than rows from the time of its removal are on their way: the
/// last process of a cgroup can still do something after its removal.
const REMEMBERED_NS: u64 = 60_000_000_000;
/// Deeper trees than any: the kernel's limit is far below.
const MAX_DEPTH: usize = 4096;

/// What a cgroup id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Path in the hierarchy.
    pub path: String,
    /// Container id found in the path.
    pub container_id: Option<String>,
}

/// Cgroups by id, known to the thread that drains and to the encoder.
#[derive(Clone, Default)]
pub struct CgroupNames(Arc<Mutex<HashMap<u64, Node>>>);

#[derive(Debug, PartialEq, Eq)]
struct Node {
    parent: Option<u64>,
    name: String,
    /// The whole path, unless the record has only a part of it.
    path: Option<String>,
    removed_ns: Option<u64>,
}

impl CgroupNames {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Node>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cgroup of `id`, if a record told it.
    pub fn find(&self, id: u64) -> Option<Cgroup> {
        let path = path(&self.lock(), id)?;
        let container_id = container_id(&path);
        Some(Cgroup { path, container_id })
    }

    /// Forget the cgroups that were removed long before `decoded_ns` (CLOCK_BOOTTIME): all older rows are decoded.
    pub fn forget(&self, decoded_ns: u64) {
        let is_over = |removed_ns: u64| removed_ns.saturating_add(REMEMBERED_NS) < decoded_ns;
        self.lock().retain(|_, node| !node.removed_ns.is_some_and(is_over));
    }
}

/// The names from the nearest ancestor whose path is known down to `id`: a path is longer than a record can hold where
/// trees are deep, a name never is.
fn path(nodes: &HashMap<u64, Node>, id: u64) -> Option<String> {
    let mut below = Vec::new();
    let mut node = nodes.get(&id)?;
    while let Some(parent) = node.parent.and_then(|parent| nodes.get(&parent)) {
        below.push(node.name.as_str());
        node = parent;
        if below.len() > MAX_DEPTH {
            return None;
        }
    }
    let top = node.path.as_ref()?;
    if below.is_empty() {
        return Some(top.clone());
    }
    below.push(top.trim_end_matches('/'));
    below.reverse();
    Some(below.join("/"))
}

/// Reads records of event `cgroup_changes` into [`CgroupNames`].
pub struct CgroupReader {
    names: CgroupNames,
    ev: Column,
    id: Column,
    parent_id: Column,
    name: Column,
    path: Column,
    rmdir: i32,
}

impl CgroupReader {
    /// For records of `layout`; `None` if it does not have the columns of this event.
    pub fn new(layout: &Layout, names: CgroupNames) -> Option<Self> {
        let column = |name: &str| layout.column(name).cloned();
        let ev = column("ev")?;
        let Type::Enum(values) = &ev.ty else { return None };
        let rmdir = values.iter().find(|(_, name)| name == "rmdir")?.0;
        let (id, parent_id, name, path) =
            (column("id")?, column("parent_id")?, column("name")?, column("path")?);
        Some(Self { names, ev, id, parent_id, name, path, rmdir })
    }

    /// Take what one record tells.
    pub fn read(&self, record: &[u8]) {
        let Ok((header, _)) = RecordHeader::read_from_prefix(record) else { return };
        let bits = |column: &Column| 1u32 << column.bit;
        let field = |column: &Column| {
            let start = usize::from(column.offset);
            let is_null = (header.nulls | header.faults) & bits(column) != 0;
            (!is_null).then(|| record.get(start..start + usize::from(column.ty.wire_size())))?
        };
        let number = |column: &Column| Some(u64::from_ne_bytes(field(column)?.get(..8)?.try_into().ok()?));
        let text = |column: &Column| {
            let bytes = field(column)?;
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            let is_whole = header.cuts & bits(column) == 0;
            is_whole.then(|| escape(&bytes[..end]).into_owned())
        };
        let (Some(id), Some(name)) = (number(&self.id), text(&self.name)) else { return };
        let is_removed = field(&self.ev)
            .and_then(|ev| Some(i32::from_ne_bytes(ev.get(..4)?.try_into().ok()?)))
            .is_some_and(|ev| ev == self.rmdir);
        let mut nodes = self.names.lock();
        // Records of several processors come in any order: a removal may be told before what was removed.
        let removed_ns =
            nodes.get(&id).and_then(|node| node.removed_ns).or(is_removed.then_some(header.ts_ns));
        nodes.insert(id, Node { parent: number(&self.parent_id), name, path: text(&self.path), removed_ns });
    }
}

/// The last part of a cgroup path that looks like a container's: 64 hexadecimal digits, perhaps in
/// `docker-ID.scope`.
pub fn container_id(path: &str) -> Option<String> {
    const DIGITS: usize = 64;
    path.rsplit('/').find_map(|part| {
        let stem = part.strip_suffix(".scope").unwrap_or(part);
        let id = stem.rsplit('-').next()?;
        let is_id = id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::RecordBuilder;

    const S: u64 = 1_000_000_000;

    fn layout() -> Layout {
        let columns = [
            ("ev", "enum(snapshot,mkdir,rmdir)"),
            ("id", "u64"),
            ("parent_id", "u64"),
            ("name", "string[255]"),
            ("path", "string[20]"),
        ];
        let column = |(name, ty): (&str, &str)| Column {
            name: name.to_owned(),
            ty: ty.parse().unwrap(),
            unit: None,
            doc: String::new(),
            offset: 0,
            bit: 0,
        };
        Layout::new("cgroup_changes", "", columns.map(column).to_vec(), |_| false).0
    }

    /// The names after records of (event, second, id, parent, path).
    fn names(records: &[(&str, u64, u64, u64, &str)]) -> CgroupNames {
        let (layout, names) = (layout(), CgroupNames::default());
        let reader = CgroupReader::new(&layout, names.clone()).unwrap();
        for (ev, second, id, parent, path) in records {
            let name = path.rsplit('/').next().unwrap();
            let row = RecordBuilder::new(&layout, second * S).set_text("ev", ev).set_u64("id", *id);
            let row = if *parent > 0 { row.set_u64("parent_id", *parent) } else { row };
            reader.read(&row.set_text("name", name).set_text("path", path).build());
        }
        names
    }

    fn path(names: &CgroupNames, id: u64) -> Option<String> {
        names.find(id).map(|cgroup| cgroup.path)
    }

    #[test]
    fn a_path_that_is_longer_than_a_record_holds_is_known_from_its_parents() {
        let names = names(&[
            ("snapshot", 1, 1, 0, "/"),
            ("mkdir", 2, 30, 20, "/kubepods.slice/pod-with-a-long-name/container"),
            ("snapshot", 1, 10, 1, "/kubepods.slice"),
            ("mkdir", 2, 20, 10, "/kubepods.slice/pod-with-a-long-name"),
            ("mkdir", 3, 99, 98, "/elsewhere/short"),
            ("mkdir", 3, 97, 96, "/elsewhere/too-long-for-this-one"),
        ]);
        assert_eq!(path(&names, 1).as_deref(), Some("/"));
        assert_eq!(path(&names, 10).as_deref(), Some("/kubepods.slice"));
        assert_eq!(path(&names, 30).as_deref(), Some("/kubepods.slice/pod-with-a-long-name/container"));
        // Of parents that nobody told, the record's own path counts, if it is whole.
        assert_eq!(path(&names, 99).as_deref(), Some("/elsewhere/short"));
        assert_eq!((path(&names, 97), path(&names, 98)), (None, None));
    }

    #[test]
    fn a_removed_cgroup_is_known_until_its_rows_are_decoded() {
        // Of several processors the removal may come first.
        let names = names(&[
            ("rmdir", 5, 7, 1, "/short"),
            ("mkdir", 4, 7, 1, "/short"),
            ("snapshot", 1, 8, 1, "/lives"),
        ]);
        for (decoded_s, is_known) in [(5, true), (65, true), (66, false)] {
            names.forget(decoded_s * S);
            assert_eq!(path(&names, 7).is_some(), is_known, "after {decoded_s} s");
        }
        assert_eq!(path(&names, 8).as_deref(), Some("/lives"));
    }

    #[test]
    fn parents_that_lead_in_a_circle_have_no_path() {
        let names = names(&[("mkdir", 1, 7, 8, "/a"), ("mkdir", 1, 8, 7, "/b")]);
        assert_eq!(path(&names, 7), None);
    }

    #[test]
    fn container_ids_are_found_in_paths_of_every_runtime() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/system.slice/docker-{id}.scope"),
            format!("/docker/{id}"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/crio-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
        ] {
            assert_eq!(container_id(&path), Some(id.clone()), "{path}");
        }
        assert_eq!(container_id("/user.slice/user-0.slice/session-1.scope"), None);
    }
}
