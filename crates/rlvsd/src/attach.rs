//! Where the data plane hooks in: which interfaces, which hook on each, and the pins that keep it there.

use std::{
    collections::BTreeMap,
    fmt, fs, io, mem,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, XdpMode,
        links::{FdLink, LinkError, PinnedLink},
        tc::{NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcHandle, qdisc_add_clsact},
        xdp::XdpLink,
    },
    util::KernelVersion,
};

use crate::{loader, network::Interface};

/// Place of our filter among those of the clsact hook, on kernels without tcx. Low numbers come first.
const CLSACT_PRIORITY: u16 = 1;
/// Handle of that filter, so that a new daemon replaces the one it finds.
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 0x4c56);

/// A hook of the kernel's receive path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// tc ingress: tcx where the kernel has it (from 6.6 on), clsact before.
    Tc,
    /// The driver's XDP hook.
    Xdp,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        })
    }
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// XDP where the driver runs it on real frames, tc elsewhere.
    Auto,
    /// XDP everywhere.
    Xdp,
    /// tc everywhere.
    Tc,
}

/// How tc programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TcStyle {
    /// tcx where the kernel has it.
    Auto,
    /// As a clsact filter, as kernels before 6.6 need it.
    Clsact,
}

/// An interface with the data plane on it.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Name of the interface.
    pub name: String,
    /// The hook.
    pub hook: Hook,
    /// Why this one.
    pub reason: String,
}

/// The interfaces that have the data plane.
pub struct Attachments {
    programs: Ebpf,
    stages: Vec<ProgramArray<MapData>>,
    links: PathBuf,
    choice: Choice,
    tc_style: TcStyle,
    by_index: BTreeMap<u32, Attachment>,
}

/// Where the pins of links stand.
pub fn links_dir(root: &Path) -> PathBuf {
    root.join("links")
}

impl Attachments {
    /// No interface yet. Links are pinned under `root`; those pinned there already get the new program when their interface
    /// is attached.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn new(
        programs: Ebpf,
        stages: Vec<ProgramArray<MapData>>,
        root: &Path,
        choice: Choice,
        tc_style: TcStyle,
    ) -> Result<Self> {
        let links = links_dir(root);
        fs::create_dir_all(&links).with_context(|| format!("making {}", links.display()))?;
        Ok(Self { programs, stages, links, choice, tc_style, by_index: BTreeMap::new() })
    }

    /// The attached interfaces, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.by_index.values()
    }

    /// Attaches the data plane to an interface, unless it is there already.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn attach(&mut self, interface: &Interface) -> Result<()> {
        if let Some(attachment) = self.by_index.get_mut(&interface.index) {
            attachment.name.clone_from(&interface.name);
            return Ok(());
        }
        let (hook, reason) = self.attach_by_choice(interface)?;
        // An earlier daemon may have attached in another way; two programs in a row would be one too many. What is pinned
        // is a link to this hook, unless this is a clsact filter, of which nothing is.
        let is_clsact = hook == Hook::Tc && !self.has_tcx();
        for link in [Hook::Tc, Hook::Xdp] {
            if link != hook || is_clsact {
                remove_pin(&self.pin(interface, link))?;
            }
        }
        if !is_clsact {
            detach_clsact(interface);
        }
        tracing::info!(interface = interface.name, %hook, "attached: {reason}");
        self.by_index.insert(interface.index, Attachment { name: interface.name.clone(), hook, reason });
        Ok(())
    }

    /// Takes what an earlier daemon attached from interfaces that are no longer wanted, or gone.
    ///
    /// # Errors
    /// Where a pin cannot be removed.
    pub fn release_others(&self, interfaces: &[Interface]) -> Result<()> {
        let others = interfaces.iter().filter(|interface| !self.by_index.contains_key(&interface.index));
        others.for_each(detach_clsact);
        for entry in fs::read_dir(&self.links)?.flatten() {
            let index = entry.file_name().to_str().and_then(|name| name.split('-').next()?.parse().ok());
            if !index.is_some_and(|index| self.by_index.contains_key(&index)) {
                remove_pin(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Forgets an interface that is gone; the kernel detached the program with it.
    pub fn forget(&mut self, index: u32) {
        if let Some(attachment) = self.by_index.remove(&index) {
            tracing::info!(interface = attachment.name, "interface gone");
            for hook in [Hook::Tc, Hook::Xdp] {
                let _ = fs::remove_file(self.links.join(pin_name(index, hook)));
            }
        }
    }

    fn attach_by_choice(&mut self, interface: &Interface) -> Result<(Hook, String)> {
        match self.choice {
            Choice::Tc => self.attach_tc(interface).map(|()| (Hook::Tc, "as asked for".into())),
            Choice::Xdp => self.attach_xdp(interface).map(|()| (Hook::Xdp, "as asked for".into())),
            Choice::Auto => match virtual_kind(interface) {
                Some(kind) => {
                    self.attach_tc(interface)?;
                    Ok((Hook::Tc, format!("{kind} carries GSO packets with partial checksums, which XDP would break")))
                }
                None => match self.attach_xdp(interface) {
                    Ok(()) => Ok((Hook::Xdp, "its driver runs XDP natively".into())),
                    Err(error) => {
                        self.attach_tc(interface)?;
                        Ok((Hook::Tc, format!("its driver does not run XDP natively ({})", error.root_cause())))
                    }
                },
            },
        }
    }

    fn attach_xdp(&mut self, interface: &Interface) -> Result<()> {
        let pin = self.pin(interface, Hook::Xdp);
        loader::load_hook(&mut self.programs, &mut self.stages, Hook::Xdp)?;
        let program = loader::xdp(&mut self.programs, loader::XDP_PROGRAM)?;
        let attached = hold_by_pin(
            program,
            &pin,
            |program, old| XdpLink::try_from(old).is_ok_and(|link| program.attach_to_link(link).is_ok()),
            |program| {
                let id = program.attach(&interface.name, XdpMode::Driver)?;
                FdLink::try_from(program.take_link(id)?)
                    .map_err(|_| anyhow!("the kernel gave no XDP link, only an attachment that ends with this process"))
            },
        );
        attached.with_context(|| format!("attaching to the XDP hook of {}", interface.name))
    }

    fn attach_tc(&mut self, interface: &Interface) -> Result<()> {
        let pin = self.pin(interface, Hook::Tc);
        let tcx = self.has_tcx();
        loader::load_hook(&mut self.programs, &mut self.stages, Hook::Tc)?;
        let program = loader::tc(&mut self.programs)?;
        let attached = if tcx { attach_tcx(program, interface, &pin) } else { attach_clsact(program, interface) };
        attached.with_context(|| format!("attaching to the tc hook of {}", interface.name))
    }

    /// Whether tc programs are attached by tcx links; by clsact filters if not.
    fn has_tcx(&self) -> bool {
        self.tc_style == TcStyle::Auto && KernelVersion::current().is_ok_and(|v| v >= KernelVersion::new(6, 6, 0))
    }

    fn pin(&self, interface: &Interface, hook: Hook) -> PathBuf {
        self.links.join(pin_name(interface.index, hook))
    }
}

fn attach_tcx(program: &mut SchedClassifier, interface: &Interface, pin: &Path) -> Result<()> {
    hold_by_pin(
        program,
        pin,
        |program, old| SchedClassifierLink::try_from(old).is_ok_and(|link| program.attach_to_link(link).is_ok()),
        |program| {
            let options = TcAttachOptions::TcxOrder(LinkOrder::default());
            let id = program.attach_with_options(&interface.name, TcAttachType::Ingress, options)?;
            FdLink::try_from(program.take_link(id)?).map_err(|_| anyhow!("the kernel gave no tcx link"))
        },
    )
}

/// Attaches by a pinned link: the one that is there takes the new program in one step, or a new one is made and pinned.
fn hold_by_pin<P>(
    program: &mut P,
    pin: &Path,
    take_over: impl FnOnce(&mut P, FdLink) -> bool,
    make: impl FnOnce(&mut P) -> Result<FdLink>,
) -> Result<()> {
    if let Some(old) = pinned(pin)? {
        if take_over(program, old) {
            return Ok(());
        }
        remove_pin(pin)?;
    }
    make(program)?.pin(pin).with_context(|| format!("pinning {}", pin.display()))?;
    Ok(())
}

fn attach_clsact(program: &mut SchedClassifier, interface: &Interface) -> Result<()> {
    let keep = |program: &mut SchedClassifier, id: SchedClassifierLinkId| -> Result<()> {
        // Dropping the link would take the filter away; it stays until `unload`.
        mem::forget(program.take_link(id)?);
        Ok(())
    };
    let name = &interface.name;
    let ours = SchedClassifierLink::attached(name, TcAttachType::Ingress, CLSACT_PRIORITY, CLSACT_HANDLE, None)?;
    if let Ok(id) = program.attach_to_link(ours) {
        return keep(program, id);
    }
    // It may well be there: the attempt below tells.
    let _ = qdisc_add_clsact(name);
    let options = NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None };
    let id = program.attach_with_options(name, TcAttachType::Ingress, TcAttachOptions::Netlink(options))?;
    keep(program, id)
}

fn pin_name(index: u32, hook: Hook) -> String {
    format!("{index}-{hook}")
}

fn pinned(pin: &Path) -> Result<Option<FdLink>> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(link.into())),
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("opening {}", pin.display())),
    }
}

fn remove_pin(pin: &Path) -> Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", pin.display()))
        }
        _ => Ok(()),
    }
}

/// Why an interface has no real frames, if so: its kind (veth, bridge, ..) or its paravirtual driver.
fn virtual_kind(interface: &Interface) -> Option<String> {
    if let Some(kind) = &interface.kind {
        return Some(format!("a {kind} interface"));
    }
    // Only right where /sys shows this network namespace; elsewhere the name is missing and tc is the safe choice.
    let driver = fs::read_link(format!("/sys/class/net/{}/device/driver", interface.name)).ok();
    let driver = driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match driver.as_deref() {
        None => Some("an interface without a known driver".into()),
        Some(driver @ ("virtio_net" | "xen-netfront" | "hv_netvsc")) => Some(format!("a {driver} interface")),
        Some(_) => None,
    }
}

/// Takes our filter of the clsact hook away from an interface; links go with their pins.
pub fn detach_clsact(interface: &Interface) {
    // "Not there" is the usual answer.
    let _ = aya::programs::tc::qdisc_detach_program(&interface.name, TcAttachType::Ingress, loader::TC_PROGRAM);
}
