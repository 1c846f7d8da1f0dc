//! What the recordings do not show: the start, the backend, the name of the program, and any words at all.

use std::io;

use crate::support::{LoopbackHost, Machine, recorded_support};
use proptest::prelude::*;
use rlvs_ipvs::Errno;
use rlvs_ipvs::client::{self, Backend, Client};
use rlvs_ipvs::model::Table;
use rlvs_ipvsadm::resolve::{Names, NoNames};
use rlvs_ipvsadm::{Streams, System, flags, run};

const NO_INTERFACE: &str = "Are you sure that IP Virtual Server is built in the kernel or as module?\n";

fn machine() -> Machine<Table> {
    Machine::new(Table::new(recorded_support(), Box::new(LoopbackHost)), None)
}

/// A machine whose control interface cannot be opened; notes the backend asked for.
struct Closed {
    errno: Errno,
    asked: Vec<Option<Backend>>,
}

impl System for Closed {
    fn connect(&mut self, backend: Option<Backend>) -> Result<Client, client::Error> {
        self.asked.push(backend);
        Err(client::Error::Transport(self.errno))
    }

    fn connections(&mut self) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn names(&self) -> &dyn Names {
        &NoNames
    }
}

/// Exit status, standard error, and the backends asked for.
fn run_closed(words: &[&str], errno: Errno) -> (i32, String, Vec<Option<Backend>>) {
    let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let streams = Streams { input: &mut io::empty(), output: &mut output, errors: &mut errors };
    let mut system = Closed { errno, asked: Vec::new() };
    let exit = run(&argv, streams, &mut system);
    assert!(output.is_empty());
    (exit, String::from_utf8(errors).expect("text"), system.asked)
}

#[test]
fn without_a_control_interface_nothing_goes() {
    for words in [&["ipvsadm"][..], &["ipvsadm", "-h"], &["ipvsadm", "--foo"], &[]] {
        let text = format!("Can't initialize ipvs: Protocol not available\n{NO_INTERFACE}");
        assert_eq!(run_closed(words, Errno::NOPROTOOPT), (2, text, vec![None]));
        let text = format!("Can't initialize ipvs: Permission denied (you must be root)\n{NO_INTERFACE}");
        assert_eq!(run_closed(words, Errno::PERM), (2, text, vec![None]));
    }
}

#[test]
fn without_privilege_nothing_goes_either() {
    let mut machine = machine();
    machine.can_admin = false;
    let ran = machine.run(&["ipvsadm", "-v"], "");
    let text = format!("Can't initialize ipvs: Permission denied (you must be root)\n{NO_INTERFACE}");
    assert_eq!((ran.exit, ran.stderr.as_str(), ran.stdout.as_str()), (2, text.as_str(), ""));
}

#[test]
fn the_backend_may_stand_anywhere() {
    for words in [
        &["ipvsadm", "--backend", "kernel", "-L"][..],
        &["ipvsadm", "-L", "--backend=kernel"],
        &["ipvsadm", "-L", "--foo=1", "--backend=rlvs"],
        &["ipvsadm", "--backend", "rlvs", "--backend", "kernel"],
    ] {
        let expected = if words.contains(&"--foo=1") { None } else { Some(Backend::Kernel) };
        assert_eq!(run_closed(words, Errno::NOPROTOOPT).2, [expected], "{words:?}");
    }
    let (exit, errors, asked) = run_closed(&["ipvsadm", "--backend", "foo"], Errno::PERM);
    assert_eq!((exit, asked), (2, vec![]));
    assert_eq!(errors, "unknown backend `foo'; it may be auto, rlvs or kernel\n");
    // It is no command, and does not hide that one is missing.
    let ran = machine().run(&["ipvsadm", "--backend", "rlvs", "-n"], "");
    assert_eq!((ran.exit, ran.stderr.starts_with("Try `ipvsadm -h'")), (255, true));
    assert_eq!(machine().run(&["ipvsadm", "--backend", "rlvs"], ""), machine().run(&["ipvsadm"], ""));
}

#[test]
fn messages_name_the_program_as_it_was_called() {
    let ran = machine().run(&["./ipvsadm", "-R"], "-k\n");
    assert_eq!(ran.stderr, "Try `./ipvsadm -h' or './ipvsadm --help' for more information.\n");
    let usage = machine().run(&["/sbin/ipvsadm", "-h"], "").stdout;
    assert!(usage.contains("\n  /sbin/ipvsadm -D virtual-service\n"), "{usage}");
}

#[test]
fn output_that_is_gone_ends_the_program_quietly() {
    struct Gone;
    impl io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let argv = ["ipvsadm".to_owned(), "-L".to_owned()];
    let mut errors = Vec::new();
    let streams = Streams { input: &mut io::empty(), output: &mut Gone, errors: &mut errors };
    assert_eq!(run(&argv, streams, &mut machine()), 141);
    assert!(errors.is_empty());
}

/// Words that are options, values, or anything.
fn word() -> impl Strategy<Value = String> {
    let flags: Vec<String> = flags::all()
        .flat_map(|flag| flag.short.iter().map(|letter| format!("-{letter}")).chain([format!("--{}", flag.long)]))
        .filter(|word| word != "--backend")
        .collect();
    let values =
        ["10.0.0.1:80", "[2001:db8::1]:80", "10.0.1.2", "rr", "sh", "5", "0", "master", "lo", "gue", "-", "--", ""];
    prop_oneof![
        4 => prop::sample::select(flags),
        3 => prop::sample::select(values.map(str::to_owned).to_vec()),
        1 => "\\PC{0,6}",
    ]
}

proptest! {
    #[test]
    fn any_words_have_an_exit_status(words in prop::collection::vec(word(), 0..8), input in "(\\PC{0,20}\n){0,3}") {
        let mut machine = machine();
        machine.run(&["ipvsadm", "-A", "-t", "10.0.0.1:80", "-s", "rr"], "");
        let argv: Vec<&str> = std::iter::once("ipvsadm").chain(words.iter().map(String::as_str)).collect();
        let ran = machine.run(&argv, &input);
        prop_assert!([0, 1, 2, 255].contains(&ran.exit), "{:?}", ran);
        // Whoever refuses, says why; whoever does not, keeps quiet.
        prop_assert!(ran.exit == 0 || !ran.stderr.is_empty(), "{:?}", ran);
    }

    #[test]
    fn what_is_saved_restores_to_the_same(ports in prop::collection::btree_set(1u16.., 1..6), weight in 0i32..) {
        let mut machine = machine();
        for port in &ports {
            let (address, weight) = (format!("10.0.0.1:{port}"), weight.to_string());
            machine.run(&["ipvsadm", "-A", "-t", &address, "-s", "sh", "-p", "-b", "sh-port"], "");
            machine.run(&["ipvsadm", "-a", "-t", &address, "-r", "10.0.1.2", "-m", "-w", &weight], "");
        }
        let saved = machine.run(&["ipvsadm", "-S", "-n"], "").stdout;
        prop_assert_eq!(saved.lines().count(), 2 * ports.len());
        machine.run(&["ipvsadm", "-C"], "");
        let restored = machine.run(&["ipvsadm", "-R"], &saved);
        prop_assert_eq!((restored.exit, restored.stderr.as_str()), (0, ""));
        prop_assert_eq!(machine.run(&["ipvsadm", "-S", "-n"], "").stdout, saved);
    }
}
