//! The daemon's life: take the sockets, load or take over the data plane, attach, serve, and leave it forwarding.

use std::{
    cell::RefCell,
    io,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, MapData};
use rustix::process::getuid;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

use crate::{
    attach::{self, Attachments, Choice, TcStyle},
    bpffs,
    clock::Clock,
    counters::Counters,
    drops::Samples,
    expire,
    handed::Hands,
    loader::{self, CLOCK_PROGRAM, DataPlane, Sizes},
    network::{Event, Interface, Network, Newcomer},
    owner::{Owner, cache, defence, estimator},
    server::{Served, Sockets},
    shared::SharedTables,
};

/// What the operator asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which hook.
    pub hook: Choice,
    /// How tc programs are attached.
    pub tc_style: TcStyle,
    /// Interfaces by name; empty for all Ethernet interfaces, those that come later included.
    pub interfaces: Vec<String>,
    /// Sizes of the tables, where they are made anew.
    pub sizes: Sizes,
}

impl Options {
    fn wants(&self, interface: &Interface) -> bool {
        self.interfaces.is_empty() || self.interfaces.contains(&interface.name)
    }
}

/// Runs until SIGTERM or SIGINT. Forwarding goes on afterwards.
///
/// # Errors
/// What kept the daemon from serving, for people.
pub fn run(options: Options) -> Result<()> {
    if !getuid().is_root() {
        bail!("rlvsd must run as root: loading eBPF programs needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN");
    }
    let sockets = match Sockets::take() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("another rlvsd serves this network namespace already")
        }
        sockets => sockets.context("taking the control sockets")?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(options, sockets))
}

async fn serve(options: Options, sockets: Sockets) -> Result<()> {
    // Before READY, so that no signal after it ends the process the hard way.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let lock = bpffs::Lock::take()?;
    let root = bpffs::root(&lock, true)?;
    let was_loaded = root.exists();
    if let Err(error) = start(options, sockets, &root, lock).await {
        // A data plane that was there before goes on; one that this daemon made and cannot serve goes.
        if !was_loaded {
            take_away(&bpffs::Lock::take()?, &root).await?;
        }
        return Err(error);
    }

    tracing::info!("ready");
    // Only a service manager listens; without one this does nothing.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; forwarding goes on until `rlvs unload`");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    Ok(())
}

/// Loads or takes over the data plane, attaches it, and begins to serve.
async fn start(options: Options, sockets: Sockets, root: &Path, lock: bpffs::Lock) -> Result<()> {
    let DataPlane { mut programs, maps, side } = loader::load(Some(root), options.sizes)?;
    let clock = Clock::new(loader::xdp(&mut programs, CLOCK_PROGRAM)?)?;
    let network = Network::connect().context("connecting to the kernel's routing tables")?;
    let (newcomers, announced) = mpsc::unbounded_channel();
    let served = Rc::new(Served {
        owner: RefCell::new(Owner::new(SharedTables::new(maps), clock, newcomers)),
        attachments: RefCell::new(Attachments::new(programs, side.stages, root, options.hook, options.tc_style)?),
        counters: Counters(side.verdicts),
        samples: Samples(side.samples),
        since: Instant::now(),
    });
    // The maps are pinned and their directories made: nobody unmounts under us any more.
    drop(lock);

    let mut watcher = Watcher { options, served: Rc::clone(&served), interface_map: side.interfaces };
    let interfaces = network.interfaces().await.context("listing interfaces")?;
    watcher.attach_all(&interfaces)?;
    loader::settle(root)?;
    let hands = Hands::new().context("opening sockets for what the data plane hands over")?;
    let (ring, owner) = (side.handed, Rc::clone(&served));
    spawn_local(async move {
        if let Err(error) = hands.run(ring, owner).await {
            tracing::error!("what the data plane hands over is lost: {error}");
        }
    });
    let resolver = network.resolver();
    spawn_local(watcher.watch(network));
    let owner = Rc::clone(&served);
    let found = move |newcomer: Newcomer, source| {
        owner.owner.borrow().set_tunnel_source(newcomer.dest, newcomer.address, source);
    };
    spawn_local(async move {
        if let Err(error) = resolver.run(side.neighbours, announced, found).await {
            tracing::error!("neighbours are no longer resolved: {error}");
        }
    });
    spawn_local(every(Duration::from_millis(expire::INTERVAL_MS), Rc::clone(&served), Owner::sweep));
    spawn_local(every(Duration::from_secs(defence::INTERVAL_S), Rc::clone(&served), Owner::guard));
    spawn_local(flush_after_removals(Rc::clone(&served)));
    spawn_local(every(Duration::from_secs(estimator::INTERVAL_S), Rc::clone(&served), Owner::estimate));
    spawn_local(every(Duration::from_secs(cache::INTERVAL_S), Rc::clone(&served), Owner::forget));
    sockets.serve(&served).context("serving the control sockets")
}

/// Calls `action` of the owner once every `period`.
async fn every(period: Duration, served: Rc<Served>, action: fn(&mut Owner)) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        action(&mut served.owner.borrow_mut());
    }
}

/// How long after a removal the connections of removed destinations go: a tick or so, and several removals at once.
const FLUSH_DELAY: Duration = Duration::from_millis(10);

/// Ends the connections of removed destinations where that is wanted (expire_nodest_conn).
async fn flush_after_removals(served: Rc<Served>) {
    let removal = served.owner.borrow().removal();
    loop {
        removal.notified().await;
        tokio::time::sleep(FLUSH_DELAY).await;
        served.owner.borrow_mut().flush_removed();
    }
}

/// Follows what the kernel tells of interfaces, routes and neighbours.
struct Watcher {
    options: Options,
    served: Rc<Served>,
    interface_map: HashMap<MapData, u32, [u8; 8]>,
}

impl Watcher {
    /// Attaches to the wanted interfaces.
    fn attach_all(&mut self, interfaces: &[Interface]) -> Result<()> {
        for name in &self.options.interfaces {
            if !interfaces.iter().any(|interface| interface.name == *name) {
                bail!("there is no Ethernet interface {name} in this network namespace");
            }
        }
        let wanted: Vec<_> = interfaces.iter().filter(|interface| self.options.wants(interface)).collect();
        for interface in wanted {
            self.arrived(interface)?;
        }
        self.served.attachments.borrow().release_others(interfaces)
    }

    async fn watch(mut self, mut network: Network) {
        while let Some(event) = network.next().await {
            match event {
                Event::Interface(interface) if self.options.wants(&interface) => {
                    if let Err(error) = self.arrived(&interface) {
                        tracing::error!("{error:#}");
                    }
                    self.served.owner.borrow().bump_epoch();
                }
                Event::Interface(_) => {}
                Event::InterfaceGone(index) => {
                    self.served.attachments.borrow_mut().forget(index);
                    let _ = self.interface_map.remove(&index);
                    self.served.owner.borrow().bump_epoch();
                }
                Event::Ways => self.served.owner.borrow_mut().ways_changed(),
                Event::Neighbours => self.served.owner.borrow().bump_epoch(),
            }
        }
        tracing::error!("the kernel no longer tells of route changes; next hops are looked up again by age only");
    }

    fn arrived(&mut self, interface: &Interface) -> Result<()> {
        let [a, b, c, d, e, f] = interface.address;
        self.interface_map.insert(interface.index, [a, b, c, d, e, f, 0, 0], 0)?;
        self.served.attachments.borrow_mut().attach(interface)
    }
}

/// Takes the data plane away from this thread's network namespace: programs, maps, pins. Returns whether there was one.
///
/// # Errors
/// Where a daemon still runs, or something cannot be removed.
pub fn unload() -> Result<bool> {
    if !getuid().is_root() {
        bail!("rlvs unload must run as root");
    }
    let _held = match Sockets::take() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!("rlvsd still runs here: stop it first"),
        sockets => sockets.context("taking the control sockets")?,
    };
    let lock = bpffs::Lock::take()?;
    let Ok(root) = bpffs::root(&lock, false) else { return Ok(false) };
    if !root.exists() {
        return Ok(false);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(take_away(&lock, &root))?;
    Ok(true)
}

/// Detaches the programs from every interface and removes the pins under `root`.
async fn take_away(lock: &bpffs::Lock, root: &Path) -> Result<()> {
    let interfaces = Network::connect()?.interfaces().await?;
    interfaces.iter().for_each(attach::detach_clsact);
    bpffs::remove(lock, root).with_context(|| format!("removing {}", root.display()))
}
