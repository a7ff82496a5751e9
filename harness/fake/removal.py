"""What the modelled API shows of its rows, and the deletion of templates and users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.stack import Answer

if TYPE_CHECKING:
    from harness.fake.store import Store, Workspace


def view(workspace: Workspace) -> dict[str, Any]:
    """A workspace as the API shows it."""
    last = workspace.builds[-1]
    build = {"build_number": last.number, "transition": last.transition, "job": {"status": last.status}}
    return {"id": workspace.id, "name": workspace.name, "latest_build": build}


def listing(store: Store, what: str) -> Any:
    """Everything of a kind on one page: `limit` and `offset` are not looked at."""
    if what == "templates":
        return [{"id": key, "name": name} for key, name in store.templates.items()]
    if what == "users":
        rows = [{"id": key, "username": name} for key, name in store.users.items()]
    else:
        rows = [view(w) for w in store.workspaces.values() if not w.deleted]
    return {what: rows, "count": len(rows)}


def removed(store: Store, what: str, key: str) -> Answer:
    """Delete a template or a user with its tokens; refused while a workspace needs it."""
    rows = store.templates if what == "templates" else store.users
    if key not in rows:
        return Answer(404, {"message": "Resource not found or you do not have access to this resource"})
    living = [w for w in store.workspaces.values() if not w.deleted]
    if what == "templates" and living:  # every workspace of the model is of the one template there is
        return Answer(400, {"message": "All workspaces must be deleted before a template can be removed."})
    if what == "users" and any(w.owner == key for w in living):
        return Answer(417, {"message": "You cannot delete a user that has workspaces."})
    del rows[key]
    if what == "users":
        store.tokens = {token: user for token, user in store.tokens.items() if user != key}
    return Answer(200, {"message": "deleted"})
