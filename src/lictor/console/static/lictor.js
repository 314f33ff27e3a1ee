// Passkeys in forms; nothing else on these pages needs a script. A form says what it wants by its attributes:
//   data-passkey-challenge, -ids, -rp   ask a passkey to sign the challenge; its answer goes into the field "assertion"
//   data-passkey-create                 make a passkey from these options (JSON); it goes into the field "credential"
//   data-passkey-optional               post without an answer where this browser has no passkeys
//   data-passkey-fresh                  milliseconds after which the page's challenge is too old
// Buttons with `formnovalidate` or `data-passkey-off` post at once. Errors are said in [data-passkey-error] of the form.
"use strict";
(() => {
  const supported = Boolean(window.isSecureContext && window.PublicKeyCredential && navigator.credentials);

  const bytes = (text) =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

  const text = (buffer) =>
    btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(""))
      .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  const named = (id) => ({ type: "public-key", id: bytes(id) });

  async function sign(form) {
    const ids = form.dataset.passkeyIds.split(" ").filter(Boolean);
    const found = await navigator.credentials.get({
      publicKey: {
        challenge: bytes(form.dataset.passkeyChallenge),
        rpId: form.dataset.passkeyRp,
        allowCredentials: ids.map(named),
        userVerification: "required",
        timeout: 120000,
      },
    });
    const said = found.response;
    return {
      id: found.id,
      rawId: found.id,
      type: found.type,
      response: {
        clientDataJSON: text(said.clientDataJSON),
        authenticatorData: text(said.authenticatorData),
        signature: text(said.signature),
      },
    };
  }

  async function create(form) {
    const options = JSON.parse(form.dataset.passkeyCreate);
    const made = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: options.excludeCredentials.map((one) => named(one.id)),
      },
    });
    const said = made.response;
    return {
      id: made.id,
      rawId: made.id,
      type: made.type,
      response: { clientDataJSON: text(said.clientDataJSON), attestationObject: text(said.attestationObject) },
    };
  }

  const WORDS = {
    InvalidStateError: "This device already has a passkey of yours for this console.",
    NotAllowedError: "Nothing was signed: it was cancelled, took too long, or no passkey of this console is here.",
    NotSupportedError: "This device cannot make a passkey that is accepted here.",
  };

  function explain(form, error) {
    const rp = form.dataset.passkeyRp || JSON.parse(form.dataset.passkeyCreate).rp.id;
    if (error.name === "SecurityError") return `Passkeys work at ${rp} alone: open this page there.`;
    return WORDS[error.name] || `The passkey could not be used (${error.name}).`;
  }

  function say(form, words) {
    const place = form.querySelector("[data-passkey-error]");
    if (place) {
      place.hidden = !words;
      place.textContent = words;
    }
  }

  function post(form, button) {
    form.dataset.passkeyDone = "yes";
    form.requestSubmit(button);
  }

  async function answered(form, button) {
    const making = "passkeyCreate" in form.dataset;
    if (!supported) {
      if ("passkeyOptional" in form.dataset) return post(form, button);
      return say(form, "This browser offers no passkeys at this address.");
    }
    if (performance.now() > Number(form.dataset.passkeyFresh || Infinity)) {
      say(form, "This page has waited too long. It is loaded again…");
      return window.location.reload();
    }
    say(form, "");
    try {
      const answer = await (making ? create(form) : sign(form));
      form.elements.namedItem(making ? "credential" : "assertion").value = JSON.stringify(answer);
    } catch (error) {
      return say(form, explain(form, error));
    }
    return post(form, button);
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const button = event.submitter;
    const wanted = form.dataset && ("passkeyChallenge" in form.dataset || "passkeyCreate" in form.dataset);
    if (!wanted || form.dataset.passkeyDone) return;
    if (button && (button.formNoValidate || "passkeyOff" in button.dataset)) return;
    event.preventDefault();
    answered(form, button);
  });

  // A page that comes back from the browser's cache asks again.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-passkey-done]")) delete form.dataset.passkeyDone;
    for (const part of document.querySelectorAll("[data-passkey-only]")) part.hidden = !supported;
    for (const part of document.querySelectorAll("[data-passkey-none]")) part.hidden = supported;
  });
})();
