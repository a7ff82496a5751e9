"""Finding the user or organization that a path names."""

from uuid import UUID

from standin.auth import Actor
from standin.db import Database, Row
from standin.errors import not_found

_USER_SQL = """
SELECT u.*, ARRAY(SELECT organization_id FROM organization_members m WHERE m.user_id = u.id) AS organization_ids
FROM users u WHERE NOT u.deleted AND (u.id = $1 OR lower(u.username) = lower($2))
"""


def as_uuid(text: str) -> UUID | None:
    """Read a UUID, or None when the text is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def find_user(db: Database, actor: Actor, name: str) -> Row:
    """Find a user by ``me``, UUID or username; 404 when absent or not the actor's to see."""
    if name == "me" or name in {str(actor.id), actor.row["username"]}:
        return actor.row
    row = await db.row(_USER_SQL, as_uuid(name), name)
    if row is None or not actor.may_see(row["id"]):
        raise not_found()
    return row


async def find_organization(db: Database, name: str) -> Row:
    """Find an organization by UUID, name or ``default``; 404 when absent."""
    row = await db.row(
        "SELECT * FROM organizations WHERE id = $1 OR name = $2 OR (is_default AND $2 = 'default')",
        as_uuid(name),
        name,
    )
    if row is None:
        raise not_found()
    return row
