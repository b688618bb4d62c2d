//! Runs a plan in this process, on the compute threads, a bounded number of batches ahead of the client.

use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use engine::memory::Pressure;
use engine::operators::stoppable;
use engine::{Error, Result, panics};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::plan::Plan;
use super::{Permit, QueryContext, Rows};

/// Batches computed ahead of the client: one being encoded, one ready.
const BATCHES_AHEAD: usize = 2;
/// How long a query waits for the process to be less near its memory cap.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// Starts `plan` and waits for its first batch, so that a failure before any row can still be answered
/// by running elsewhere.
pub async fn run(context: &QueryContext, plan: Plan, permit: Permit) -> Result<Rows> {
    if !permit.watches() {
        room(context, plan.is_small).await?;
    }
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let Plan { physical, state, is_small, .. } = plan;
    let schema = physical.schema();
    let stop = CancellationToken::new();
    let physical = stoppable(physical, &stop)?;
    let (memory, env) = context.coordinator.runtime.for_task(context.max_memory.unwrap_or(0) as usize);
    let task_context = Arc::new(TaskContext::from(&state).with_runtime(env));
    context.profile.runs_here(&physical, &memory);
    let coordinator = &context.coordinator;
    let threads = match (permit.watches(), is_small) {
        (true, _) => &coordinator.watching,
        (false, true) => &coordinator.small,
        (false, false) => &coordinator.compute,
    };
    let work = threads.spawn(async move {
        let plan: Arc<dyn ExecutionPlan> = physical;
        let mut stream = match execute_stream(plan, task_context) {
            Ok(stream) => stream,
            Err(error) => {
                let _ = sender.send(Err(Error::from(error))).await;
                return;
            }
        };
        loop {
            let next = tokio::select! {
                biased;
                verdict = memory.condemnation() => Some(Err(verdict)),
                next = stream.next() => next,
            };
            let Some(batch) = next else { return };
            let is_last = batch.is_err();
            // Whoever reads may rest for long, and hold what was read ahead.
            let sent = tokio::select! {
                biased;
                verdict = memory.condemnation(), if !is_last => Err(verdict),
                sent = sender.send(batch.map_err(Error::from)) => Ok(sent),
            };
            match sent {
                Ok(Ok(())) if !is_last => {}
                Ok(_) => return,
                Err(verdict) => {
                    drop(stream);
                    let _ = sender.send(Err(Error::from(verdict))).await;
                    return;
                }
            }
        }
    });
    let mut running = Running { work: Some(work), _stop: stop.drop_guard(), _permit: permit };
    let mut batches = ReceiverStream::new(receiver);
    let first = batches.next().await;
    let first = match first {
        Some(Ok(batch)) => Some(Ok(batch)),
        Some(Err(error)) => return Err(error),
        None => {
            running.check().await?;
            None
        }
    };
    let rest = batches.map(Some).chain(futures::stream::once(async move {
        // Kept until the last batch: dropping the stream drops this, and with it the work.
        running.check().await.err().map(Err)
    }));
    Ok(Rows::new(schema, futures::stream::iter(first).chain(rest.filter_map(futures::future::ready))))
}

/// Waits for a moment while the process is near its cap: what runs may give memory back. Then a session that has
/// other queries open begins no further one, unless it is small, and at the cap nobody does.
async fn room(context: &QueryContext, is_small: bool) -> Result<()> {
    let runtime = &context.coordinator.runtime;
    let mut pressure = runtime.pressure.clone();
    let now = *pressure.borrow();
    if now == Pressure::Calm || (is_small && now < Pressure::Critical) {
        return Ok(());
    }
    let calm = pressure.wait_for(|now| *now == Pressure::Calm);
    if tokio::time::timeout(ROOM_WAIT, calm).await.is_ok() {
        return Ok(());
    }
    let is_full = *pressure.borrow() == Pressure::Critical;
    if !is_full && !context.coordinator.admission.holds_others(&context.asker()) {
        return Ok(());
    }
    Err(Error::from(DataFusionError::ResourcesExhausted(format!(
        "the process is too near its memory cap of {} to begin another query",
        runtime.pool.cap()
    ))))
}

/// The computing task; dropping it stops the plan at its next batch, and nested-loop joins within one.
struct Running {
    work: Option<tokio::task::JoinHandle<()>>,
    _stop: DropGuard,
    _permit: Permit,
}

impl Running {
    /// After the last batch: a task that panicked must not look like one that finished.
    async fn check(&mut self) -> Result<()> {
        let Some(work) = &mut self.work else { return Ok(()) };
        let ended = work.await;
        self.work = None;
        match ended {
            Ok(()) => Ok(()),
            Err(error) => Err(match error.try_into_panic() {
                Ok(panic) => panics::error_of(panic.as_ref(), "a plan"),
                Err(_) => Error::ShuttingDown,
            }),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            work.abort();
        }
    }
}
