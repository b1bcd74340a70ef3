"""Users, passwords, logins, API tokens and roles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from sqlalchemy import delete, insert, select

from bioimage_py.errors import ConflictError, KeyNotFoundError, ParameterError
from bioimage_py.server.accounts import passwords
from bioimage_py.server.accounts.api_tokens import ApiTokens
from bioimage_py.server.accounts.attempts import FREE, FREE_OF_ADDRESS, SPAN, Attempts
from bioimage_py.server.accounts.callers import Caller, Scope
from bioimage_py.server.accounts.members import Members, Right, Role
from bioimage_py.server.accounts.sessions import Sessions
from bioimage_py.server.accounts.users import Users
from bioimage_py.server.database import audit, tables
from bioimage_py.server.database.engine import Database
from bioimage_py.server.refusals import NotAllowedError, TooManyError, UnknownCallerError

PASSWORD = "correct horse battery"


@dataclass
class Clock:
    now: float = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    found = Database(f"sqlite:///{tmp_path}/a.db")
    yield found
    found.close()


@pytest.fixture
def users(database):
    found = Users(database)
    found.add("Alice", PASSWORD, admin=True)
    found.add("bob", PASSWORD)
    return found


@pytest.fixture
def sessions(database, users, clock):
    return Sessions(database, clock=clock)


@pytest.mark.parametrize(
    "password", ["short", "x" * 1025, "password123", "PASSWORD123", "aaaaaaaaaaab", "alicealice", "a\u0301bcdefgh"]
)
def test_passwords_that_are_refused(password):
    with pytest.raises(ParameterError) as error:
        passwords.hashed(password, "alice")
    assert password not in str(error.value)


def test_passwords_are_any_text_in_any_normal_form():
    stored = passwords.hashed("pässwört 密码 🔑 d")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.fits("pa\u0308sswo\u0308rt 密码 🔑 d", stored)
    assert not passwords.fits("passwort 密码 🔑 d", stored)
    assert not passwords.fits("the password of nobody", None)
    assert not passwords.fits("x", "no hash")


def test_names_are_the_same_in_any_case(users):
    assert users.named("ALICE").name == "alice"
    with pytest.raises(ConflictError, match="taken"):
        users.add("aLICE", PASSWORD)
    for name in ("", "a b", "../a", "a\0", "x" * 151, "-a", "<b>"):
        with pytest.raises(ParameterError):
            users.add(name, PASSWORD)


def test_somebody_can_always_administrate(users):
    alice = users.named("alice")
    for change in ({"admin": False}, {"disabled": True}):
        with pytest.raises(ConflictError, match="administrate"):
            users.change(alice.id, by="alice", **change)
    with pytest.raises(ConflictError, match="administrate"):
        users.remove(alice.id, by="alice")
    assert users.named("alice").admin


def test_nobody_gets_the_history_of_somebody_else(users, database):
    with database.writing() as connection:  # as it was before what is left of an account was under a number
        audit.record(connection, "alice", "user removed", details={"name": "bob"})
        connection.execute(delete(tables.users).where(tables.users.c.name == "bob"))
    with pytest.raises(ConflictError, match="was somebody") as error:
        users.add("BOB", PASSWORD)
    assert "--again" in error.value.remedy
    assert users.add("Bob", PASSWORD, again=True).name == "bob"


def test_what_is_stored_holds_no_secret(database, sessions, tmp_path):
    pair = sessions.log_in("alice", PASSWORD)
    caller = sessions.caller(pair.access)
    _, proof = ApiTokens(database).make(caller, "cluster", Scope.READ, 1)
    database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (PASSWORD, pair.access, pair.refresh, proof):
        assert secret.encode() not in stored
        assert secret[4:].encode() not in stored
    assert pair.access not in repr(pair)


def test_login_errors_are_all_the_same(users, sessions):
    users.change(users.named("bob").id, disabled=True, by="alice")
    told = set()
    for name, password in (("alice", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("../x", PASSWORD), ("", "")):
        with pytest.raises(UnknownCallerError) as error:
            sessions.log_in(name, password)
        told.add(str(error.value))
    assert len(told) == 1


def test_an_access_token_ends(sessions, clock):
    pair = sessions.log_in("alice", PASSWORD)
    assert sessions.caller(pair.access).name == "alice"
    clock.now += 901
    for token in (pair.access, pair.refresh, "", "bia_x"):
        with pytest.raises(UnknownCallerError):
            sessions.caller(token)
    renewed = sessions.renew(pair.refresh)
    assert sessions.caller(renewed.access).admin


def test_a_refresh_token_that_comes_twice_ends_all(sessions, clock):
    first = sessions.log_in("alice", PASSWORD, client="laptop")
    second = sessions.renew(first.refresh, client="laptop")
    third = sessions.renew(second.refresh, client="laptop")
    with pytest.raises(UnknownCallerError):
        sessions.renew(first.refresh, client="thief")
    for pair in (first, second, third):
        with pytest.raises(UnknownCallerError):
            sessions.caller(pair.access)
        with pytest.raises(UnknownCallerError):
            sessions.renew(pair.refresh, client="laptop")


def test_a_client_whose_answer_was_lost_may_repeat_for_some_seconds(sessions, clock):
    first = sessions.log_in("alice", PASSWORD, client="laptop")
    sessions.renew(first.refresh, client="laptop")
    clock.now += 5
    assert sessions.caller(sessions.renew(first.refresh, client="laptop").access).name == "alice"
    clock.now += 6
    with pytest.raises(UnknownCallerError):
        sessions.renew(first.refresh, client="laptop")


def test_a_client_without_a_name_has_no_grace(sessions):
    first = sessions.log_in("alice", PASSWORD)
    sessions.renew(first.refresh)
    with pytest.raises(UnknownCallerError):
        sessions.renew(first.refresh)


def test_of_many_renewals_at_once_one_counts(sessions):
    pair = sessions.log_in("alice", PASSWORD)

    def renew(_):
        try:
            return sessions.renew(pair.refresh)
        except UnknownCallerError:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert len([found for found in pool.map(renew, range(8)) if found]) == 1


def test_a_new_password_and_a_disabled_account_end_all_logins(users, sessions):
    pair = sessions.log_in("bob", PASSWORD)
    users.set_password(users.named("bob").id, "another good one", by="bob")
    with pytest.raises(UnknownCallerError):
        sessions.caller(pair.access)
    pair = sessions.log_in("bob", "another good one")
    users.change(users.named("bob").id, disabled=True, by="alice")
    with pytest.raises(UnknownCallerError):
        sessions.renew(pair.refresh)


def test_logging_out_ends_this_login_only(sessions):
    one, other = (sessions.log_in("alice", PASSWORD) for _ in range(2))
    sessions.log_out(sessions.caller(one.access).family)
    with pytest.raises(UnknownCallerError):
        sessions.renew(one.refresh)
    assert sessions.caller(other.access).name == "alice"


def test_waits_double_and_end(database, clock):
    attempts = Attempts(database, clock)
    waited = []
    for _ in range(FREE + 12):
        try:
            attempts.begin("alice", "1.2.3.4")
        except TooManyError as error:
            waited.append(error.seconds)
            clock.now += error.seconds
            attempts.begin("alice", "1.2.3.4")
    assert waited[:4] == [1, 2, 4, 8]
    assert max(waited) <= SPAN
    attempts.begin("alice", "5.6.7.8")  # somebody else at the same account has nothing to do with it
    attempts.begin("bob", "1.2.3.4")


def test_attempts_of_many_accounts_from_one_address(database, clock):
    attempts = Attempts(database, clock)
    for n in range(FREE_OF_ADDRESS):
        attempts.begin(f"user{n}", "1.2.3.4")
    with pytest.raises(TooManyError):
        attempts.begin("other", "1.2.3.4")


def test_many_attempts_at_once_are_many(sessions):
    def try_one(n):
        try:
            sessions.log_in("alice", f"wrong {n}", address="1.2.3.4")
        except (UnknownCallerError, TooManyError) as error:
            return type(error)

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(try_one, range(12)))
    assert found.count(UnknownCallerError) == FREE


def test_success_forgets_failures(sessions):
    for _ in range(3):
        for _ in range(FREE - 1):
            with pytest.raises(UnknownCallerError):
                sessions.log_in("alice", "wrong")
        sessions.log_in("alice", PASSWORD)


def test_api_tokens(database, users, clock):
    tokens, alice = ApiTokens(database, clock), users.named("alice")
    caller = Caller(alice.id, "alice", True)
    token, proof = tokens.make(caller, "cluster", Scope.ANNOTATE, 30, ["p1"])
    found = tokens.caller(proof)
    assert (found.scope, found.projects, found.admin) == (Scope.ANNOTATE, {"p1"}, False)
    assert found.may(Scope.READ)
    assert not found.may(Scope.MANAGE)
    with pytest.raises(NotAllowedError):
        tokens.make(found, "more", Scope.READ, 1)
    with pytest.raises(NotAllowedError):
        tokens.revoke(found, token.id)
    assert tokens.of(caller)[0].used == clock.now
    for days in (0, -1, 366, float("nan"), float("inf")):
        with pytest.raises(ParameterError):
            tokens.make(caller, "x", Scope.READ, days)
    with pytest.raises(KeyNotFoundError):
        tokens.revoke(Caller(users.named("bob").id, "bob", False), token.id)
    clock.now += 31 * 86400
    with pytest.raises(UnknownCallerError):
        tokens.caller(proof)
    _, other = tokens.make(caller, "x", Scope.READ, 1)
    tokens.revoke(caller, tokens.of(caller)[0].id)
    with pytest.raises(UnknownCallerError):
        tokens.caller(other)


def test_roles(database, users):
    alice, bob = users.named("alice"), users.named("bob")
    with database.writing() as connection:
        row = {"id": "p", "name": "p", "owner_id": alice.id, "folder": "/p", "created": 0, "first": 1, "last": 0}
        connection.execute(insert(tables.projects).values(**row))
        connection.execute(insert(tables.members).values(project_id="p", user_id=alice.id, role="owner"))
    members = Members(database)
    owner, other = Caller(alice.id, "alice", True), Caller(bob.id, "bob", False)
    with pytest.raises(KeyNotFoundError) as foreign:
        members.check(other, "p", Right.read)
    with pytest.raises(KeyNotFoundError) as missing:
        members.check(other, "q", Right.read)
    assert str(foreign.value).replace("'p'", "'q'") == str(missing.value)
    for role in Role:
        members.put("p", "bob", role, owner)
        for right in Right:
            if right <= role:
                assert members.check(other, "p", right) == role
            else:
                with pytest.raises(NotAllowedError, match=role.name):
                    members.check(other, "p", right)
    members.put("p", "bob", Role.maintainer, owner)
    for change in (
        lambda: members.put("p", "bob", Role.owner, other),
        lambda: members.put("p", "alice", Role.viewer, other),
        lambda: members.remove("p", "alice", other),
    ):
        with pytest.raises(NotAllowedError, match="owners"):
            change()
    with pytest.raises(ConflictError, match="owner"):
        members.remove("p", "alice", owner)
    members.put("p", "bob", Role.owner, owner)
    members.remove("p", "alice", owner)
    with database.reading() as connection:
        assert connection.execute(select(tables.projects.c.owner_id)).scalar() == bob.id
        assert audit.broken(connection) is None
    with pytest.raises(KeyNotFoundError):
        members.check(owner, "p", Right.read)  # an administrator is no member by that


def test_a_token_is_for_its_projects_and_scope(database, users):
    alice = users.named("alice")
    with database.writing() as connection:
        for id in ("p", "q"):
            row = {"id": id, "name": id, "owner_id": alice.id, "folder": id, "created": 0, "first": 1, "last": 0}
            connection.execute(insert(tables.projects).values(**row))
            connection.execute(insert(tables.members).values(project_id=id, user_id=alice.id, role="owner"))
    members = Members(database)
    token = Caller(alice.id, "alice", False, Scope.READ, frozenset({"p"}), "id")
    assert members.check(token, "p", Right.read) == Role.owner
    with pytest.raises(NotAllowedError, match="read"):
        members.check(token, "p", Right.annotate)
    with pytest.raises(KeyNotFoundError):
        members.check(token, "q", Right.read)
