"""Telling users what happened: messages are queued where it happens, and moved to inboxes by a notifier.

Who is told what follows coderd/workspaces.go, coderd/workspacebuilds.go and coderd/provisionerdserver; the texts are ours.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from standin.clock import Clock
from standin.db import Database, Row
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line

# coderd/notifications/events.go
CREATED: Final = UUID("281fdf73-c6d6-4cbb-8ff5-888baf8a2fff")
UPDATED: Final = UUID("d089fe7b-d5c5-4c0c-aaf5-689859f7d392")
DELETED: Final = UUID("f517da0b-cdc9-410f-ab89-a86107c420ed")
FAILED: Final = UUID("2faeee0f-26cb-4e96-821c-85ccb9f71513")

_FETCH = 15.0  # server seconds, CODER_NOTIFICATIONS_FETCH_INTERVAL (default unverified)
_BATCH = 20  # CODER_NOTIFICATIONS_LEASE_COUNT (default unverified)
_QUEUE = """
INSERT INTO notification_messages (id, user_id, notification_template_id, targets, title, content, actions)
SELECT gen_random_uuid(), u.id, $1, $2, $3, $4, $5 FROM users u WHERE NOT u.deleted AND
"""
_ADMINS_SQL = f"{_QUEUE} u.rbac_roles && '{{owner,template-admin}}' AND u.id <> $6"
_ONE_SQL = f"{_QUEUE} u.id = $6"
_BUILD_SQL = """
SELECT b.workspace_id, b.workspace_name, b.owner_id, b.owner_name, b.transition, b.build_number, b.initiator_id,
    b.initiator_name, b.job_status, b.template_version_name, w.template_id, w.organization_id, u.email AS owner_email,
    t.name AS template_name
FROM builds_with_job b JOIN workspaces w ON w.id = b.workspace_id JOIN users u ON u.id = w.owner_id
JOIN templates t ON t.id = w.template_id WHERE b.job_id = $1
"""
_DISPATCH_SQL = """
WITH due AS (
    DELETE FROM notification_messages WHERE id IN (
        SELECT id FROM notification_messages ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING *
), new AS (
    INSERT INTO inbox_notifications (id, user_id, template_id, targets, title, content, icon, actions, created_at)
    SELECT id, user_id, notification_template_id, targets, title, content, 'DEFAULT_WORKSPACE_ICON', actions,
        clock_timestamp() FROM (SELECT * FROM due ORDER BY created_at) due
    RETURNING *
)
SELECT pg_notify('inbox_notification:owner:' || new.user_id,
    json_build_object('kind', 'new', 'inbox_notification', row_to_json(new))::text) FROM new
"""


@dataclass(frozen=True, slots=True)
class About:
    """The workspace that a notification is about."""

    id: UUID
    name: str
    owner_id: UUID
    owner_name: str
    template_id: UUID
    organization_id: UUID


async def _queue(db: Database, kind: UUID, about: About, text: tuple[str, str], *, but: UUID | None = None) -> None:
    """Queue a message for every admin ``but`` one, or for the owner when that is None.

    A message that cannot be queued is lost, as in Coder, and the log says so.
    """
    sql, user_id = (_ONE_SQL, about.owner_id) if but is None else (_ADMINS_SQL, but)
    targets = [about.id, about.owner_id, about.template_id, about.organization_id]
    actions = json.dumps([{"label": "View workspace", "url": f"/@{about.owner_name}/{about.name}"}])
    try:
        await db.rows(sql, kind, targets, *text, actions, user_id)
    except DATABASE_ERRORS as error:
        LOG.warning("failed to notify of %s: %s", text[0], one_line(error))


async def workspace_created(db: Database, about: About, initiator: UUID) -> None:
    """Tell the admins, except whoever did it."""
    text = ("Workspace Created", f"The workspace {about.name} of {about.owner_name} has been created.")
    await _queue(db, CREATED, about, text, but=initiator)


async def workspace_updated(db: Database, about: About, initiator: UUID) -> None:
    """Tell the admins, except whoever did it, that a workspace was built with another template version."""
    text = ("Workspace Manually Updated", f"The workspace {about.name} of {about.owner_name} has been updated.")
    await _queue(db, UPDATED, about, text, but=initiator)


async def build_ended(db: Database, job_id: UUID) -> Row | None:
    """Tell the admins of a failed build, and an owner of the deletion of a workspace by somebody else.

    Gives the build, None when it is gone or could not be read.
    """
    try:
        row = await db.row(_BUILD_SQL, job_id)
    except DATABASE_ERRORS as error:
        LOG.warning("failed to notify of the end of a build: %s", one_line(error))
        return None
    if row is None:
        return None
    names = ("workspace_id", "workspace_name", "owner_id", "owner_name", "template_id", "organization_id")
    about = About(*[row[name] for name in names])
    if row["job_status"] == "failed":
        text = f"Build {row['build_number']} of the workspace {about.name} of {about.owner_name} has failed."
        await _queue(db, FAILED, about, ("Manual Build Failed", text), but=UUID(int=0))
    elif row["transition"] == "delete" and row["job_status"] == "succeeded" and row["initiator_id"] != about.owner_id:
        text = f"Your workspace {about.name} has been deleted by {row['initiator_name']}."
        await _queue(db, DELETED, about, ("Workspace Deleted", text))
    return row


async def notify_forever(db: Database, clock: Clock) -> None:
    """Move what is queued to the inboxes; every replica does, and row locks keep them apart."""
    while True:
        await asyncio.sleep(clock.server(_FETCH))
        try:
            while len(await db.rows(_DISPATCH_SQL, _BATCH)) == _BATCH:
                pass
        except DATABASE_ERRORS as error:
            LOG.warning("notifier: %s", one_line(error))
