//! The maps: rings, counters, tables of keys, pid set, stash.

use core::ffi::c_void;

use aya_ebpf::btf_maps::{
    Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf,
};
use aya_ebpf::helpers::generated::{bpf_map_delete_elem, bpf_map_lookup_elem, bpf_map_update_elem};
use aya_ebpf::macros::btf_map;
use schemas::wire::{
    CpuState, KEY_TEMPLATE, MAX_COPIES, OBJECT_MAP_FLAGS, OBJECT_WAYS, Scratch, Shared, Stash,
    VALUE_TEMPLATE, gate,
};

/// One ring per CPU, then as many for each further copy of a program that nests; the recorder makes the rings and sets
/// the number of entries.
#[btf_map]
pub static RINGS: ArrayOfMaps<RingBuf<u64, 4096>, 1> = ArrayOfMaps::new();

/// Counters of this probe; an entry for each copy of a program that nests.
#[btf_map]
pub static CPUS: PerCpuArray<CpuState, 1> = PerCpuArray::new();

/// The copies of the recording program: an `each` program starts itself again from here, and a copy of one that nests
/// finds here what the kernel knows of those before it.
#[btf_map]
pub static PROGRAMS: ProgramArray<MAX_COPIES> = ProgramArray::new();

/// What all probes share: a [`Shared`], which kernels before 6.2 must not know, because they find that a map whose type
/// is a structure differs from one without types.
#[btf_map]
pub static SHARED: ArrayOfMaps<Array<u64, 1>, 1> = ArrayOfMaps::new();
const _: () = assert!(size_of::<Shared>() == size_of::<u64>());

/// The set of objects that recorded events have begun, one for all probes of an event: buckets.
#[btf_map]
pub static OBJECTS: ArrayOfMaps<Array<[u64; OBJECT_WAYS], 1, OBJECT_MAP_FLAGS>, 1> = ArrayOfMaps::new();

/// Those of the set that found their bucket full.
#[btf_map]
pub static MORE_OBJECTS: ArrayOfMaps<HashMap<u64, u32, 1>, 1> = ArrayOfMaps::new();

/// The one pid set that all probes share: key tgid.
#[btf_map]
pub static PIDS: ArrayOfMaps<HashMap<u32, u32, 1>, 1> = ArrayOfMaps::new();

/// What entry programs keep, by thread and depth ([`crate::calls`]).
#[btf_map]
pub static STASH: HashMap<u64, Stash, 1> = HashMap::new();

/// The latest values of which each counts once.
#[btf_map]
pub static ONCE: LruHashMap<u64, u64, 1> = LruHashMap::new();

/// What an aggregated event was counted in: a table of keys for each copy of the program. The recorder puts an empty one in
/// its place at the end of each interval.
#[btf_map]
pub static TABLES: ArrayOfMaps<PerCpuHashMap<[u8; KEY_TEMPLATE], [u64; VALUE_TEMPLATE], 1>, 1> =
    ArrayOfMaps::new();

/// Where the columns of an aggregated event are put together: one for each copy of the program, or several where runs
/// can interleave.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Address of a map for the raw helpers.
#[inline(always)]
pub fn raw<T>(map: &'static T) -> *mut c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}

/// `bpf_map_lookup_elem`, NULL if there is none.
#[inline(always)]
pub fn lookup<K, V>(map: *mut c_void, key: &K) -> *mut V {
    // SAFETY: `map` is a map or NULL-checked inner map, the verifier checks key and value sizes.
    unsafe { bpf_map_lookup_elem(map, core::ptr::from_ref(key).cast()).cast() }
}

/// `bpf_map_update_elem`; true if it worked.
#[inline(always)]
pub fn update<K, V>(map: *mut c_void, key: &K, value: *const V) -> bool {
    // SAFETY: as in `lookup`.
    unsafe { bpf_map_update_elem(map, core::ptr::from_ref(key).cast(), value.cast(), 0) == 0 }
}

/// `bpf_map_update_elem` with BPF_NOEXIST; false if the key was there.
#[inline(always)]
pub fn add<K, V>(map: *mut c_void, key: &K, value: *const V) -> bool {
    // The key is there, rather than that there was no room for it.
    const EEXIST: i32 = -17;
    insert(map, key, value) != EEXIST
}

/// `bpf_map_update_elem` with BPF_NOEXIST; 0 if it worked.
#[inline(always)]
pub fn insert<K, V>(map: *mut c_void, key: &K, value: *const V) -> i32 {
    const BPF_NOEXIST: u64 = 1;
    // SAFETY: as in `lookup`.
    let result =
        unsafe { bpf_map_update_elem(map, core::ptr::from_ref(key).cast(), value.cast(), BPF_NOEXIST) };
    // Before Linux 6.4 the map's own function is called, which returns 32 bits and leaves the others zero.
    result as i32
}

/// `bpf_map_delete_elem`; true if it was there.
#[inline(always)]
pub fn delete<K>(map: *mut c_void, key: *const K) -> bool {
    // SAFETY: as in `lookup`.
    unsafe { bpf_map_delete_elem(map, key.cast()) == 0 }
}

/// What all probes share, or NULL.
#[inline(always)]
pub fn shared() -> *mut Shared {
    let map = lookup::<u32, c_void>(raw(&SHARED), &0u32);
    if map.is_null() { core::ptr::null_mut() } else { lookup::<u32, Shared>(map, &0u32) }
}

/// Whether the recording has begun and not ended.
#[inline(always)]
pub fn is_open() -> bool {
    gate() == gate::OPEN
}

/// Whether the recording has ended.
#[inline(always)]
pub fn is_over() -> bool {
    gate() == gate::OVER
}

/// One of [`gate`].
#[inline(always)]
fn gate() -> u32 {
    let shared = shared();
    if shared.is_null() {
        return gate::HELD;
    }
    // SAFETY: a map value.
    unsafe { core::ptr::read_volatile(&raw const (*shared).gate) }
}

/// The inner map of the pid set, or NULL.
#[inline(always)]
pub fn pid_set() -> *mut c_void {
    lookup(raw(&PIDS), &0u32)
}

/// Whether the pid set has this process.
#[inline(always)]
pub fn in_pid_set(tgid: u32) -> bool {
    let set = pid_set();
    !set.is_null() && !lookup::<u32, u32>(set, &tgid).is_null()
}
