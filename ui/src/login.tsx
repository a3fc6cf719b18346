// Logging in: by a one-time address, which the store handles, or by a token.

import { useState } from "preact/hooks";
import { Icon, Text } from "./shown.tsx";
import { store } from "./store.ts";

export function Login() {
  const [token, setToken] = useState("");
  const { busy, problem, why } = store.login;
  const enter = (e: Event) => {
    e.preventDefault();
    const text = token.trim();
    if (!text || busy) return;
    // A whole one-time address may be pasted too, or its code.
    const code = /#login=([^&\s]+)$/.exec(text)?.[1] ?? /^lkc_\S+$/.exec(text)?.[0];
    void store.enter(code ? { code } : { token: text });
  };
  return (
    <main class="login">
      <form onSubmit={enter}>
        <h1>
          <Icon name="eye" />
          lookout
        </h1>
        {why && <p class="x">{why}</p>}
        <label>
          Token
          <input
            type="password"
            name="token"
            autocomplete="current-password"
            autofocus
            value={token}
            disabled={busy}
            onInput={(e) => setToken(e.currentTarget.value)}
            aria-invalid={problem !== undefined}
            aria-describedby={problem ? "login-problem" : undefined}
          />
        </label>
        {problem && (
          <p id="login-problem" class="problem" role="alert">
            <b>
              <Text text={problem.message} />
            </b>
            {problem.mend && problem.status !== 401 && (
              <>
                {" · "}
                <Text text={problem.mend} />
              </>
            )}
          </p>
        )}
        <button class="primary" disabled={busy || token.trim() === ""}>
          {busy ? "Logging in …" : "Log in"}
        </button>
        <p class="x">
          The token is in the file <code>token</code> of the server's data folder. On that machine <code>lookout ui</code> prints an address that logs
          in without it.
        </p>
      </form>
    </main>
  );
}
