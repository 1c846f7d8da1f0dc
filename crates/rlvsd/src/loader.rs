//! Loads the data plane: the object that is part of this program, its maps pinned so that they outlive the daemon.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf, Stack},
    programs::{ProgramError, SchedClassifier, Xdp},
};
use rlvs_core::{
    cell::Cell64,
    director::{STAGES, Stage},
    rows::{ABI, ConfigRow, ConnRow, CursorRow, DestRow, MARKS_MAX, MarkRow, MemberRow, SampleRow, ServiceRow},
};

use crate::{attach::Hook, maps::SharedArray};

/// The eBPF object: built by `cargo xtask bpf`, committed, the same on every machine.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("RLVS_EMBEDDED_OBJECT"));

/// Name of the tc program.
pub const TC_PROGRAM: &str = "rlvs_tc";
/// Name of the XDP program.
pub const XDP_PROGRAM: &str = "rlvs_xdp";
/// Name of the program that reads the kernel's clocks.
pub const CLOCK_PROGRAM: &str = "rlvs_clock";
/// Name of the program that only picks destinations. Nobody but tests loads it.
pub const SCHEDULE_PROGRAM: &str = "rlvs_schedule";

/// Maps that outlive the daemon. VERDICTS and STATS are counters that should not jump back either.
const PINNED: [&str; 20] = [
    "CONFIG",
    "CURSOR",
    "SERVICE_INDEX",
    "SERVICES",
    "DESTS",
    "MEMBERS",
    "WORDS",
    "CACHE",
    "FLOWS",
    "CONNS",
    "FREE_CONNS",
    "STATS",
    "VERDICTS",
    "MARKS",
    "SAMPLES",
    "INTERFACES",
    "NEIGHBOURS",
    "FRAGMENTS",
    "ADDRESSES",
    "HANDED",
];

/// The stages of a packet's way that are programs of their own, by their part of the programs' names.
const STAGE_NAMES: [(Stage, &str); 7] = [
    (Stage::Ingress, ""),
    (Stage::Begin, "_begin"),
    (Stage::Related, "_related"),
    (Stage::Encapsulate, "_encap"),
    (Stage::Follow, "_follow"),
    (Stage::Schedule, "_pick"),
    (Stage::Open, "_open"),
];
const _: () = assert!(STAGE_NAMES.len() == STAGES as usize);
/// The tables of stages. Not among [`PINNED`]: programs go on with the stages they were loaded with until they are replaced.
const STAGE_MAPS: [&str; 2] = ["STAGES_TC", "STAGES_XDP"];

/// Set to anything, the verifier says why it refuses a program.
const LOG_VARIABLE: &str = "RLVS_VERIFIER_LOG";

/// How many rows the tables have. Fixed while the data plane is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Virtual services.
    pub services: u32,
    /// Destinations, those that linger because connections name them included.
    pub dests: u32,
    /// Connections.
    pub conns: u32,
}

impl Sizes {
    /// Default number of virtual services: what a large Kubernetes cluster has.
    pub const SERVICES: u32 = 65_536;
    /// Default number of destinations: two for each service. Costs 40 bytes a CPU and 344 bytes each.
    pub const DESTS: u32 = 131_072;
    /// Default number of connections: about 90 MB, allocated at once so that it cannot fail later.
    pub const CONNS: u32 = 262_144;
    /// Slots of the member lists for each destination: a list is written anew beside the old one before it replaces it.
    const MEMBERS_PER_DEST: u32 = 4;
    /// Words of the schedulers for each destination: trees over the lists, and tables of slots (2 KB for dh and sh, 16 KB
    /// for mh).
    const WORDS_PER_DEST: u32 = 16;
    /// Words there are at least: small tables have room for one of everything.
    const WORDS_MIN: u32 = 16_384;
    /// Addresses that lblc and lblcr remember, and members of lblcr's sets, of all services together.
    const CACHED: u32 = 262_144;
    /// Interfaces whose address is known; others are trusted to filter by themselves.
    const INTERFACES: u32 = 4096;
    /// Addresses of the host itself that are known beside those of services and real servers.
    const LOCAL_ADDRESSES: u32 = 4096;
}

/// Key of a service to its row.
pub type ServiceIndexMap = HashMap<MapData, [u8; 24], u32>;
/// Flow to connection.
pub type FlowMap = HashMap<MapData, [u8; 40], [u8; 8]>;
/// What lblc and lblcr remember.
pub type CacheMap = HashMap<MapData, [u8; 24], [u8; 16]>;
/// Free connection rows that were used before.
pub type FreeConnMap = Stack<MapData, u32>;
/// Statistics by destination and CPU: conns, in packets, in bytes, out packets, out bytes.
pub type StatsMap = PerCpuArray<MapData, [u64; 5]>;

/// Where the first fragments of datagrams went.
pub type FragmentMap = HashMap<MapData, [u8; 40], [u8; 8]>;
/// What addresses are used for.
pub type AddressMap = HashMap<MapData, [u8; 16], u32>;

/// The maps of a loaded data plane.
pub struct Maps {
    /// The configuration.
    pub config: SharedArray<ConfigRow>,
    /// The cursor.
    pub cursor: SharedArray<CursorRow>,
    /// See [`ServiceIndexMap`].
    pub service_index: ServiceIndexMap,
    /// Service rows.
    pub services: SharedArray<ServiceRow>,
    /// Destination rows.
    pub dests: SharedArray<DestRow>,
    /// Member lists.
    pub members: SharedArray<MemberRow>,
    /// Rules that mark packets, in two halves of [`rlvs_core::rows::MARKS_MAX`] rows.
    pub marks: SharedArray<MarkRow>,
    /// Words of the schedulers.
    pub words: SharedArray<Cell64>,
    /// See [`CacheMap`].
    pub cache: CacheMap,
    /// See [`FlowMap`].
    pub flows: FlowMap,
    /// Connection rows.
    pub conns: SharedArray<ConnRow>,
    /// See [`FreeConnMap`].
    pub free_conns: FreeConnMap,
    /// See [`StatsMap`].
    pub stats: StatsMap,
    /// See [`FragmentMap`].
    pub fragments: FragmentMap,
    /// See [`AddressMap`].
    pub addresses: AddressMap,
}

/// The maps that other parts of the daemon use.
pub struct SideMaps {
    /// Counters by verdict and CPU.
    pub verdicts: PerCpuArray<MapData, u64>,
    /// Beginnings of dropped frames, [`rlvs_core::rows::SAMPLES`] for each verdict.
    pub samples: SharedArray<SampleRow>,
    /// Link-layer addresses by interface index.
    pub interfaces: HashMap<MapData, u32, [u8; 8]>,
    /// What the data plane wants to know of neighbours.
    pub neighbours: RingBuf<MapData>,
    /// Frames that need what no hook can do: [`rlvs_core::rows::Handed`] and bytes.
    pub handed: RingBuf<MapData>,
    /// The tables of stages, for tc and XDP: the kernel empties them when neither a pin nor a process holds them.
    pub stages: Vec<ProgramArray<MapData>>,
}

/// A loaded data plane: programs and maps.
pub struct DataPlane {
    /// Programs.
    pub programs: Ebpf,
    /// The tables.
    pub maps: Maps,
    /// The other maps.
    pub side: SideMaps,
}

/// Where the pins of the data plane of one network namespace stand.
pub fn maps_dir(root: &Path) -> PathBuf {
    root.join("maps")
}

/// Loads programs and maps: with pins, the programs that look at packets are left to [`load_hook`]. Maps pinned under `pins` are taken over as they are, with the sizes they have; others are made
/// and pinned there.
///
/// # Errors
/// Where the kernel refuses (rights, memory, verifier) or the pinned maps are of another version.
pub fn load(pins: Option<&Path>, sizes: Sizes) -> Result<DataPlane> {
    let mut loader = EbpfLoader::new();
    // The verifier takes several times as long when it also writes down what it does.
    loader.verifier_log_level(match std::env::var_os(LOG_VARIABLE) {
        Some(_) => VerifierLogLevel::STATS,
        None => VerifierLogLevel::DISABLE,
    });
    loader
        .map_max_entries("SERVICE_INDEX", sizes.services)
        .map_max_entries("SERVICES", sizes.services)
        .map_max_entries("DESTS", sizes.dests)
        .map_max_entries("STATS", sizes.dests)
        .map_max_entries("MEMBERS", sizes.dests.saturating_mul(Sizes::MEMBERS_PER_DEST))
        .map_max_entries("WORDS", sizes.dests.saturating_mul(Sizes::WORDS_PER_DEST).max(Sizes::WORDS_MIN))
        .map_max_entries("CACHE", Sizes::CACHED)
        .map_max_entries("MARKS", 2 * MARKS_MAX)
        .map_max_entries("CONNS", sizes.conns)
        .map_max_entries("FREE_CONNS", sizes.conns)
        .map_max_entries("FLOWS", sizes.conns.saturating_mul(2))
        .map_max_entries("ADDRESSES", sizes.services.saturating_add(sizes.dests).saturating_add(Sizes::LOCAL_ADDRESSES))
        .map_max_entries("INTERFACES", Sizes::INTERFACES);
    if let Some(pins) = pins {
        let dir = maps_dir(pins);
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        for name in PINNED {
            loader.map_pin_path(name, dir.join(name));
        }
    }
    let mut programs = loader.load(OBJECT).context("loading the eBPF object")?;
    let (maps, mut side) = take_maps(&mut programs).context("opening the maps")?;
    check_version(&maps)?;
    xdp(&mut programs, CLOCK_PROGRAM)?.load().context("loading the clock program")?;
    match pins {
        Some(pins) => side.stages = pin_stages(pins, side.stages)?,
        None => {
            for hook in [Hook::Tc, Hook::Xdp] {
                load_hook(&mut programs, &mut side.stages, hook)?;
            }
        }
    }
    Ok(DataPlane { programs, maps, side })
}

/// Loads the programs of a hook, unless they are, and enters them in its table of stages. To verify them takes the kernel a
/// second or so, which a hook that no interface uses need not cost.
///
/// # Errors
/// Where the kernel refuses a program.
pub fn load_hook(programs: &mut Ebpf, stages: &mut [ProgramArray<MapData>], hook: Hook) -> Result<()> {
    let (first, place) = match hook {
        Hook::Tc => (TC_PROGRAM, 0),
        Hook::Xdp => (XDP_PROGRAM, 1),
    };
    let stages = stages.get_mut(place).context("no table of stages")?;
    for (stage, name) in STAGE_NAMES {
        let name = format!("{first}{name}");
        let fd = match hook {
            Hook::Tc => {
                let program = classifier(programs, &name)?;
                if program.fd().is_ok() {
                    return Ok(());
                }
                persist(|| program.load()).with_context(|| format!("loading {name}"))?;
                program.fd()?.try_clone()
            }
            Hook::Xdp => {
                let program = xdp(programs, &name)?;
                if program.fd().is_ok() {
                    return Ok(());
                }
                persist(|| program.load()).with_context(|| format!("loading {name}"))?;
                program.fd()?.try_clone()
            }
        };
        stages.set(stage as u32, &fd?, 0).with_context(|| format!("entering {name}"))?;
    }
    Ok(())
}

/// How often a program is loaded that the kernel does not take.
const LOAD_TRIES: u32 = 3;

/// Loads again where the kernel did not take a program. On a machine under load it sometimes does not, without a word from the verifier,
/// and takes the same program a moment later (seen on 6.18: EINVAL, which is what a program with functions of its own gets when there
/// was no memory for its machine code).
fn persist(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let mut result = load();
    for _ in 1..LOAD_TRIES {
        if result.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        result = load();
    }
    result
}

/// Pins the tables of stages beside those that an earlier daemon pinned, and opens them again: pinning takes them away.
fn pin_stages(pins: &Path, stages: Vec<ProgramArray<MapData>>) -> Result<Vec<ProgramArray<MapData>>> {
    let pin = |(name, stages): (&&str, ProgramArray<MapData>)| {
        let pin = next_pin(pins, name);
        // What a daemon left that died while it took over.
        let _ = std::fs::remove_file(&pin);
        stages.pin(&pin).with_context(|| format!("pinning {}", pin.display()))?;
        Ok(ProgramArray::try_from(Map::ProgramArray(MapData::from_pin(&pin)?))?)
    };
    STAGE_MAPS.iter().zip(stages).map(pin).collect()
}

/// Where the stages are pinned while the programs that use them are being attached.
fn next_pin(pins: &Path, name: &str) -> PathBuf {
    maps_dir(pins).join(format!("{name}_NEXT"))
}

/// The programs are attached everywhere: their stages take the place of those that an earlier daemon pinned.
///
/// # Errors
/// Where a pin cannot be moved.
pub fn settle(pins: &Path) -> Result<()> {
    STAGE_MAPS.iter().try_for_each(|name| {
        let (from, to) = (next_pin(pins, name), maps_dir(pins).join(name));
        std::fs::rename(&from, &to).with_context(|| format!("moving {}", from.display()))
    })
}

fn classifier<'p>(programs: &'p mut Ebpf, name: &str) -> Result<&'p mut SchedClassifier> {
    Ok(programs.program_mut(name).with_context(|| format!("no program {name} in the object"))?.try_into()?)
}

/// The tc program.
pub fn tc(programs: &mut Ebpf) -> Result<&mut SchedClassifier> {
    classifier(programs, TC_PROGRAM)
}

/// An XDP program.
pub fn xdp<'p>(programs: &'p mut Ebpf, name: &str) -> Result<&'p mut Xdp> {
    Ok(programs.program_mut(name).with_context(|| format!("no program {name} in the object"))?.try_into()?)
}

/// Refuses maps that another version of rlvs left.
fn check_version(maps: &Maps) -> Result<()> {
    let config = maps.config.get(0).context("the configuration map is empty")?;
    match config.abi.load() {
        0 => config.abi.store(ABI),
        ABI => {}
        other => bail!("the loaded data plane has table layout {other}, this rlvsd {ABI}: run `rlvs unload` first"),
    }
    Ok(())
}

fn take_maps(object: &mut Ebpf) -> Result<(Maps, SideMaps)> {
    let mut take = |name: &str| object.take_map(name).with_context(|| format!("no map {name} in the object"));
    let maps = Maps {
        config: SharedArray::new(take("CONFIG")?).context("CONFIG")?,
        cursor: SharedArray::new(take("CURSOR")?).context("CURSOR")?,
        service_index: take("SERVICE_INDEX")?.try_into()?,
        services: SharedArray::new(take("SERVICES")?).context("SERVICES")?,
        dests: SharedArray::new(take("DESTS")?).context("DESTS")?,
        members: SharedArray::new(take("MEMBERS")?).context("MEMBERS")?,
        marks: SharedArray::new(take("MARKS")?).context("MARKS")?,
        words: SharedArray::new(take("WORDS")?).context("WORDS")?,
        cache: take("CACHE")?.try_into()?,
        flows: take("FLOWS")?.try_into()?,
        conns: SharedArray::new(take("CONNS")?).context("CONNS")?,
        free_conns: take("FREE_CONNS")?.try_into()?,
        stats: take("STATS")?.try_into()?,
        fragments: take("FRAGMENTS")?.try_into()?,
        addresses: take("ADDRESSES")?.try_into()?,
    };
    let side = SideMaps {
        verdicts: take("VERDICTS")?.try_into()?,
        samples: SharedArray::new(take("SAMPLES")?).context("SAMPLES")?,
        interfaces: take("INTERFACES")?.try_into()?,
        neighbours: take("NEIGHBOURS")?.try_into()?,
        handed: take("HANDED")?.try_into()?,
        stages: vec![take("STAGES_TC")?.try_into()?, take("STAGES_XDP")?.try_into()?],
    };
    Ok((maps, side))
}
