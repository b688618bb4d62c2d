//! What the coordinator asks of an executor: to run tasks, to end them, and to remove what they wrote.

use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::serde::protobuf::executor_grpc_server::ExecutorGrpc;
use ballista_core::serde::protobuf::{
    CancelTasksParams, CancelTasksResult, LaunchMultiTaskParams, LaunchMultiTaskResult, LaunchTaskParams,
    LaunchTaskResult, RemoveJobDataParams, RemoveJobDataResult, StopExecutorParams, StopExecutorResult,
};
use ballista_core::serde::scheduler::TaskKey;
use tonic::{Request, Response, Status};
use tracing::error;

use crate::tasks::Tasks;

/// Names of jobs become names of folders. Longer ones than any scheduler makes are none.
const JOB_BYTES_MAX: usize = 64;

/// Refuses what is no job's name: it would become a path.
pub fn check_job(job: &str) -> Result<(), Status> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !job.is_empty() && job.len() <= JOB_BYTES_MAX && job.bytes().all(is_name) {
        return Ok(());
    }
    Err(Status::invalid_argument("this is not the name of a job"))
}

/// Takes the coordinator's calls.
pub struct TaskService {
    tasks: Arc<Tasks>,
}

impl TaskService {
    /// A service that runs what comes as `tasks`.
    pub fn new(tasks: Arc<Tasks>) -> Self {
        Self { tasks }
    }
}

#[async_trait]
impl ExecutorGrpc for TaskService {
    async fn launch_multi_task(
        &self,
        request: Request<LaunchMultiTaskParams>,
    ) -> Result<Response<LaunchMultiTaskResult>, Status> {
        let stages = request.into_inner().multi_tasks;
        for stage in &stages {
            check_job(&stage.job_id)?;
        }
        let mut failed_jobs = Vec::new();
        for stage in stages {
            let job = stage.job_id.clone();
            if let Err(problem) = self.tasks.start(stage).await {
                error!(job.id = %job, problem, "tasks cannot be decoded");
                failed_jobs.push(job);
            }
        }
        Ok(Response::new(LaunchMultiTaskResult { failed_jobs }))
    }

    async fn cancel_tasks(
        &self,
        request: Request<CancelTasksParams>,
    ) -> Result<Response<CancelTasksResult>, Status> {
        for task in request.into_inner().task_infos {
            check_job(&task.job_id)?;
            self.tasks.cancel(&TaskKey {
                job_id: task.job_id.into(),
                stage_id: task.stage_id as usize,
                task_id: task.task_id as usize,
            });
        }
        Ok(Response::new(CancelTasksResult { cancelled: true }))
    }

    async fn remove_job_data(
        &self,
        request: Request<RemoveJobDataParams>,
    ) -> Result<Response<RemoveJobDataResult>, Status> {
        let RemoveJobDataParams { job_id, remove_stage_ids } = request.into_inner();
        check_job(&job_id)?;
        self.tasks.remove_files(&job_id.into(), remove_stage_ids);
        Ok(Response::new(RemoveJobDataResult {}))
    }

    /// Of Ballista's older way; its scheduler does not use it.
    async fn launch_task(&self, _: Request<LaunchTaskParams>) -> Result<Response<LaunchTaskResult>, Status> {
        Err(Status::unimplemented("tasks are launched by stages"))
    }

    /// Ballista tells executors to stop that it has lost. They stay: once they are heard again they are of use again.
    async fn stop_executor(
        &self,
        _: Request<StopExecutorParams>,
    ) -> Result<Response<StopExecutorResult>, Status> {
        Ok(Response::new(StopExecutorResult {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_the_folder_is_no_job() {
        for job in ["038GNHF9ZG000", "a-b_C"] {
            check_job(job).expect("a name");
        }
        for job in ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\0b", "ä", &"a".repeat(65)] {
            check_job(job).expect_err(job);
        }
    }
}
