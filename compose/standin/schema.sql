-- Tables and columns are named as in Coder's own schema (coderd/database/dump.sql), so that one truth query fits both.

CREATE TABLE site_configs (
    key   text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE organizations (
    id           uuid PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    display_name text NOT NULL,
    is_default   boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id              uuid PRIMARY KEY,
    email           text NOT NULL,
    username        text NOT NULL,
    name            text NOT NULL DEFAULT '',
    hashed_password text NOT NULL,
    status          text NOT NULL DEFAULT 'dormant',
    rbac_roles      text[] NOT NULL DEFAULT '{}',
    login_type      text NOT NULL DEFAULT 'password',
    deleted         boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz NOT NULL DEFAULT '0001-01-01T00:00:00Z'
);
CREATE UNIQUE INDEX users_username_lower_idx ON users (lower(username)) WHERE NOT deleted;
CREATE UNIQUE INDEX users_email_lower_idx ON users (lower(email)) WHERE NOT deleted AND email <> '';

CREATE TABLE organization_members (
    user_id         uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, organization_id)
);

CREATE TABLE api_keys (
    id               text PRIMARY KEY,
    hashed_secret    bytea NOT NULL,
    user_id          uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_name       text NOT NULL DEFAULT '',
    login_type       text NOT NULL,
    lifetime_seconds bigint NOT NULL,
    last_used        timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_user_idx ON api_keys (user_id);
CREATE UNIQUE INDEX api_keys_token_name_idx ON api_keys (user_id, token_name) WHERE login_type = 'token';

CREATE TABLE files (
    id         uuid PRIMARY KEY,
    hash       text NOT NULL,
    created_by uuid NOT NULL REFERENCES users (id),
    mimetype   text NOT NULL,
    data       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (hash, created_by)
);

CREATE TABLE provisioner_jobs (
    id              uuid PRIMARY KEY,
    type            text NOT NULL,
    input           jsonb NOT NULL DEFAULT '{}',
    tags            jsonb NOT NULL DEFAULT '{}',
    organization_id uuid NOT NULL REFERENCES organizations (id),
    initiator_id    uuid NOT NULL REFERENCES users (id),
    file_id         uuid NOT NULL,
    worker_id       uuid,
    worker_name     text,
    error           text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    canceled_at     timestamptz,
    completed_at    timestamptz,
    job_status      text GENERATED ALWAYS AS (
        CASE
            WHEN completed_at IS NOT NULL THEN
                CASE WHEN error <> '' THEN 'failed' WHEN canceled_at IS NOT NULL THEN 'canceled' ELSE 'succeeded' END
            WHEN error <> '' THEN 'failed'
            WHEN canceled_at IS NOT NULL THEN 'canceling'
            WHEN started_at IS NULL THEN 'pending'
            ELSE 'running'
        END
    ) STORED
);
CREATE INDEX provisioner_jobs_open_idx ON provisioner_jobs (created_at) WHERE completed_at IS NULL;

CREATE TABLE templates (
    id                uuid PRIMARY KEY,
    organization_id   uuid NOT NULL REFERENCES organizations (id),
    name              text NOT NULL,
    display_name      text NOT NULL DEFAULT '',
    description       text NOT NULL DEFAULT '',
    icon              text NOT NULL DEFAULT '',
    provisioner       text NOT NULL,
    active_version_id uuid NOT NULL,
    default_ttl_ms    bigint NOT NULL DEFAULT 0,
    activity_bump_ms  bigint NOT NULL DEFAULT 0,
    created_by        uuid NOT NULL REFERENCES users (id),
    deleted           boolean NOT NULL DEFAULT false,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX templates_name_idx ON templates (organization_id, lower(name)) WHERE NOT deleted;

CREATE TABLE template_versions (
    id              uuid PRIMARY KEY,
    template_id     uuid REFERENCES templates (id),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name            text NOT NULL,
    message         text NOT NULL DEFAULT '',
    provisioner     text NOT NULL,
    job_id          uuid NOT NULL UNIQUE REFERENCES provisioner_jobs (id),
    created_by      uuid NOT NULL REFERENCES users (id),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX template_versions_name_idx ON template_versions (template_id, lower(name));

CREATE TABLE workspaces (
    id                 uuid PRIMARY KEY,
    owner_id           uuid NOT NULL REFERENCES users (id),
    organization_id    uuid NOT NULL REFERENCES organizations (id),
    template_id        uuid NOT NULL REFERENCES templates (id),
    name               text NOT NULL,
    autostart_schedule text,
    ttl_ms             bigint,
    automatic_updates  text NOT NULL DEFAULT 'never',
    favorite           boolean NOT NULL DEFAULT false,
    dormant_at         timestamptz,
    deleted            boolean NOT NULL DEFAULT false,
    last_used_at       timestamptz NOT NULL DEFAULT '0001-01-01T00:00:00Z',
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX workspaces_owner_id_lower_idx ON workspaces (owner_id, lower(name)) WHERE NOT deleted;

CREATE TABLE workspace_builds (
    id                  uuid PRIMARY KEY,
    workspace_id        uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    template_version_id uuid NOT NULL REFERENCES template_versions (id),
    build_number        integer NOT NULL,
    transition          text NOT NULL,
    initiator_id        uuid NOT NULL REFERENCES users (id),
    job_id              uuid NOT NULL UNIQUE REFERENCES provisioner_jobs (id),
    reason              text NOT NULL,
    deadline            timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workspace_id, build_number)
);

CREATE TABLE replicas (
    id               uuid PRIMARY KEY,
    hostname         text NOT NULL,
    region_id        integer NOT NULL DEFAULT 0,
    relay_address    text NOT NULL,
    version          text NOT NULL,
    error            text NOT NULL DEFAULT '',
    database_latency integer NOT NULL DEFAULT 0,
    "primary"        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    stopped_at       timestamptz
);

CREATE TABLE provisioner_daemons (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name            text NOT NULL,
    version         text NOT NULL,
    api_version     text NOT NULL,
    provisioners    text[] NOT NULL,
    replica_id      uuid NOT NULL,
    tags            jsonb NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE provisioner_job_logs (
    id         bigserial PRIMARY KEY,
    job_id     uuid NOT NULL REFERENCES provisioner_jobs (id) ON DELETE CASCADE,
    source     text NOT NULL,
    level      text NOT NULL,
    stage      text NOT NULL,
    output     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX provisioner_job_logs_id_job_id_idx ON provisioner_job_logs (job_id, id);

CREATE TABLE provisioner_job_timings (
    job_id     uuid NOT NULL REFERENCES provisioner_jobs (id) ON DELETE CASCADE,
    stage      text NOT NULL,
    source     text NOT NULL,
    action     text NOT NULL,
    resource   text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL
);
CREATE INDEX provisioner_job_timings_job_id_idx ON provisioner_job_timings (job_id);

-- What is to be told to users; a notifier moves it to their inboxes.
CREATE TABLE notification_messages (
    id                       uuid PRIMARY KEY,
    user_id                  uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    notification_template_id uuid NOT NULL,
    targets                  uuid[] NOT NULL,
    title                    text NOT NULL,
    content                  text NOT NULL,
    actions                  jsonb NOT NULL,
    created_at               timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE inbox_notifications (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    template_id uuid NOT NULL,
    targets     uuid[] NOT NULL,
    title       text NOT NULL,
    content     text NOT NULL,
    icon        text NOT NULL,
    actions     jsonb NOT NULL,
    read_at     timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_inbox_notifications_user_id_read_at ON inbox_notifications (user_id, read_at);

CREATE TABLE audit_logs (
    id                uuid PRIMARY KEY,
    "time"            timestamptz NOT NULL DEFAULT now(),
    user_id           uuid NOT NULL,
    organization_id   uuid NOT NULL,
    ip                text NOT NULL,
    user_agent        text NOT NULL,
    resource_type     text NOT NULL,
    resource_id       uuid NOT NULL,
    resource_target   text NOT NULL,
    action            text NOT NULL,
    diff              jsonb NOT NULL,
    status_code       integer NOT NULL,
    additional_fields jsonb NOT NULL,
    request_id        uuid NOT NULL,
    resource_icon     text NOT NULL DEFAULT ''
);
CREATE INDEX idx_audit_logs_time_desc ON audit_logs ("time" DESC);

CREATE TABLE user_configs (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key     text NOT NULL,
    value   text NOT NULL,
    PRIMARY KEY (user_id, key)
);

-- A job with its place in the queue; both numbers are 0 once it has started.
CREATE VIEW jobs_in_queue AS
SELECT j.*,
    CASE WHEN j.job_status = 'pending' THEN (
        SELECT count(*) FROM provisioner_jobs p
        WHERE p.completed_at IS NULL AND p.job_status = 'pending' AND p.created_at <= j.created_at
    ) ELSE 0 END AS queue_position,
    CASE WHEN j.job_status = 'pending' THEN (
        SELECT count(*) FROM provisioner_jobs p WHERE p.completed_at IS NULL AND p.job_status = 'pending'
    ) ELSE 0 END AS queue_size
FROM provisioner_jobs j;

-- The job's columns as every other view carries them: job_ in front.
CREATE VIEW job_columns AS
SELECT id AS job_id, type AS job_type, input AS job_input, tags AS job_tags, organization_id AS job_organization_id,
    initiator_id AS job_initiator_id, file_id AS job_file_id, worker_id AS job_worker_id,
    worker_name AS job_worker_name, error AS job_error, created_at AS job_created_at, started_at AS job_started_at,
    canceled_at AS job_canceled_at, completed_at AS job_completed_at, job_status, queue_position, queue_size
FROM jobs_in_queue;

CREATE VIEW versions_with_job AS
SELECT v.id, v.template_id, v.organization_id, v.name, v.message, v.provisioner, v.created_at, v.updated_at,
    u.id AS creator_id, u.username AS creator_name, j.*
FROM template_versions v
JOIN users u ON u.id = v.created_by
JOIN job_columns j ON j.job_id = v.job_id;

CREATE VIEW builds_with_job AS
SELECT b.id, b.workspace_id, b.template_version_id, b.build_number, b.transition, b.initiator_id, b.reason,
    b.deadline, b.created_at, b.updated_at, w.name AS workspace_name, w.owner_id, o.username AS owner_name,
    v.name AS template_version_name, i.username AS initiator_name,
    CASE j.job_status
        WHEN 'running' THEN CASE b.transition WHEN 'start' THEN 'starting' WHEN 'stop' THEN 'stopping' ELSE 'deleting' END
        WHEN 'succeeded' THEN CASE b.transition WHEN 'start' THEN 'running' WHEN 'stop' THEN 'stopped' ELSE 'deleted' END
        ELSE j.job_status
    END AS build_status,
    j.*
FROM workspace_builds b
JOIN workspaces w ON w.id = b.workspace_id
JOIN users o ON o.id = w.owner_id
JOIN users i ON i.id = b.initiator_id
JOIN template_versions v ON v.id = b.template_version_id
JOIN job_columns j ON j.job_id = b.job_id;

-- A workspace (w_), its template (t_) and its newest build (no prefix).
CREATE VIEW workspaces_with_build AS
SELECT w.id AS w_id, w.name AS w_name, w.owner_id AS w_owner_id, w.organization_id AS w_organization_id,
    w.autostart_schedule AS w_autostart_schedule, w.ttl_ms AS w_ttl_ms, w.automatic_updates AS w_automatic_updates,
    w.deleted AS w_deleted, w.favorite AS w_favorite, w.dormant_at AS w_dormant_at, w.last_used_at AS w_last_used_at, w.created_at AS w_created_at,
    w.updated_at AS w_updated_at, g.name AS w_organization_name,
    t.id AS t_id, t.name AS t_name, t.display_name AS t_display_name, t.icon AS t_icon,
    t.active_version_id AS t_active_version_id, b.*
FROM workspaces w
JOIN organizations g ON g.id = w.organization_id
JOIN templates t ON t.id = w.template_id
CROSS JOIN LATERAL (
    SELECT * FROM builds_with_job x WHERE x.workspace_id = w.id ORDER BY x.build_number DESC LIMIT 1
) b;
