//! `ipvsadm`.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use rlvs_ipvs::client::Backend;
use rlvs_ipvsadm::{Streams, ThisSystem};

/// Environment variable that names the backend unless the command line does.
const BACKEND_VARIABLE: &str = "RLVS_BACKEND";

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut errors = std::io::stderr();
    let backend = match std::env::var(BACKEND_VARIABLE).as_deref().unwrap_or("auto").parse::<Backend>() {
        Ok(backend) => backend,
        Err(unknown) => {
            // If standard error is gone, there is nobody to tell.
            let _ = writeln!(errors, "{BACKEND_VARIABLE}: {unknown}");
            return ExitCode::from(2);
        }
    };
    let streams = Streams {
        input: &mut std::io::stdin().lock(),
        output: &mut BufWriter::new(std::io::stdout().lock()),
        errors: &mut errors,
    };
    let exit = rlvs_ipvsadm::run(&argv, streams, &mut ThisSystem::new(backend));
    // Every exit status of the program fits.
    ExitCode::from(u8::try_from(exit).unwrap_or(u8::MAX))
}
