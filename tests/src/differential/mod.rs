//! One set of scenarios, two systems: what a real kernel's IPVS does is recorded, and rlvs must do the same.
//!
//! 1. A [`Scenario`] is a function over a [`Script`]: commands, packets, time passing. It yields a transcript, lines of text.
//! 2. A [`Lab`] gives it a director in network namespaces, and the ends of its cables.
//! 3. [`guest`] boots a real kernel as an ordinary process (User Mode Linux) and runs this very program in it. What comes of it is
//!    committed under `tests/differential/recorded`, one file for each scenario (`cargo xtask record-differential`).
//! 4. [`compare`] holds rlvs's transcripts against the recorded ones. `tests/differential/intended.txt` lists the differences
//!    that are intended, `tests/differential/pending.txt` the scenarios that rlvs cannot do yet.
//!
//! ```text
//! scenarios -> guest: ipvsadm, kernel IPVS ------> recorded/*.txt --\
//!          \-> here:  ipvsadm, rlvsd on tc, XDP -> transcripts -----+-> compare -> differences
//! ```

pub mod compare;
pub mod decode;
pub mod frame;
pub mod guest;
pub mod lab;
pub mod scenarios;
pub mod script;
pub mod wire;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Mutex,
    thread,
};

pub use lab::{Lab, System};
pub use scenarios::Scenario;
pub use script::Script;

/// Scenarios at work at the same time. Many of them only wait.
const AT_ONCE: usize = 4;

/// Where recordings and lists are.
pub fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("differential")
}

/// The transcripts of scenarios, by name.
pub type Transcripts = BTreeMap<&'static str, Vec<String>>;

/// Runs scenarios on a system; `done` is called after each, in no order.
pub fn run(system: System, wanted: &[Scenario], done: impl Fn(&Scenario, &[String]) + Sync) -> Transcripts {
    // Those that wait begin first, so that the others fill the time.
    let mut queue: Vec<_> = wanted.iter().collect();
    queue.sort_by_key(|scenario| scenario.waits_s);
    let queue = Mutex::new(queue);
    let transcripts = Mutex::new(Transcripts::new());
    let work = || {
        loop {
            let next = queue.lock().expect("no panic while it is held").pop();
            let Some(scenario) = next else { return };
            let transcript = transcribe(system, scenario);
            done(scenario, &transcript);
            transcripts.lock().expect("no panic while it is held").insert(scenario.name, transcript);
        }
    };
    thread::scope(|scope| {
        (0..AT_ONCE).for_each(|_| {
            scope.spawn(work);
        });
    });
    transcripts.into_inner().expect("no panic while it is held")
}

/// Runs one scenario. One that cannot go on ends its transcript with a line that begins with `!`.
fn transcribe(system: System, scenario: &Scenario) -> Vec<String> {
    let run = || {
        let mut script = Script::new(Lab::build(system));
        let end = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&mut script)));
        let mut transcript = script.transcript();
        transcript.extend(end.err().map(|panic| complaint(&*panic)));
        transcript
    };
    catch_unwind(run).unwrap_or_else(|panic| vec![complaint(&*panic)])
}

fn complaint(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("! {}", words.unwrap_or("panicked").replace('\n', " / "))
}
