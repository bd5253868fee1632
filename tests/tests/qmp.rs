//! The client of QMP that people install, `qemu.qmp` of PyPI, against a machine of ours.

use devices::{Clock, Console, Host};
use machines::catalog;
use machines::endpoint::Endpoint;
use machines::machine::Machine;
use machines::qmp::Qmp;
use machines::runner::{Runner, Stopped};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use tests::skip;

/// What a person would do with the client: look, be refused, plug, wait for events, and end the machine.
const SESSION: &str = r#"
import asyncio, sys
from qemu.qmp import QMPClient, ExecuteError

async def main():
    client = QMPClient('session')
    await client.connect(sys.argv[1])
    status = await client.execute('query-status')
    assert status['status'] == 'running', status
    try:
        await client.execute('nothing')
        raise AssertionError('the command was taken')
    except ExecuteError as error:
        assert error.error.error.class_ == 'CommandNotFound', error
    with client.listener(('STOP', 'RESUME', 'RESET', 'DEVICE_DELETED')) as listener:
        await client.execute('stop')
        assert (await listener.get())['event'] == 'STOP'
        await client.execute('cont')
        assert (await listener.get())['event'] == 'RESUME'
        await client.execute('system_reset')
        assert (await listener.get())['data']['reason'] == 'host-qmp-system-reset'
        await client.execute('device_add', {'driver': 'ib700', 'id': 'dog'})
        assert await client.execute('qom-get', {'path': '/machine/dog', 'property': 'type'}) == 'ib700'
        await client.execute('device_del', {'id': 'dog'})
        assert (await listener.get())['data']['device'] == 'dog'
    text = await client.execute('human-monitor-command', {'command-line': 'info mtree'})
    assert text.startswith('address-space: memory'), text
    await client.disconnect()

asyncio.run(main())
print('the session is over')
"#;

/// A Python that has the client, in a folder of its own; or why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("qemu-qmp");
    let python = folder.join("bin/python");
    let has_client = |python: &Path| run(Command::new(python).args(["-c", "import qemu.qmp"])).is_ok();
    if has_client(&python) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "qemu.qmp"];
    run(Command::new(&python).args(install).args(["--retries", "0", "--timeout", "15"]))?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(error.lines().last().unwrap_or("it failed").to_owned())
        }
    }
}

#[test]
fn the_client_of_pypi_and_its_shell_hold_a_session() {
    let name = "the_client_of_pypi_and_its_shell_hold_a_session";
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip(name, &format!("qemu.qmp cannot be installed: {why}")),
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("qmp");
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    let machine = Arc::new(Machine::build(catalog::load("none").unwrap(), host).unwrap());
    let endpoint: Endpoint = format!("unix:{},server=on", socket.display()).parse().unwrap();
    Qmp::new(&machine).start(endpoint.open().unwrap()).unwrap();
    let runner = Runner::new(&machine);
    let stopped = thread::scope(|scope| {
        scope.spawn(|| {
            let control = runner.control();
            // whatever happens here, the machine ends
            let _end = scopeguard(move || control.quit());
            let session = run(Command::new(&python).args(["-c", SESSION]).arg(&socket)).unwrap();
            assert_eq!(String::from_utf8_lossy(&session.stdout), "the session is over\n");
            let mut shell = Command::new(python.with_file_name("qmp-shell"));
            shell.arg(&socket).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut shell = shell.spawn().unwrap();
            shell.stdin.take().unwrap().write_all(b"query-status\nstop\nquery-name\n").unwrap();
            let output = shell.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("\"running\"") && said.contains("\"none\""), "{said}");
        });
        runner.run_without_cpus().unwrap()
    });
    assert_eq!(stopped, Stopped::Quit);
}

/// Does `what` when what is returned is dropped.
fn scopeguard(what: impl FnOnce()) -> impl Drop {
    struct Guard<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Guard<F> {
        fn drop(&mut self) {
            if let Some(what) = self.0.take() {
                what();
            }
        }
    }
    Guard(Some(what))
}
