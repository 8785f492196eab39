// What PAM modules are told of a log-in beyond what sshd tells them: who it is to the cluster, and what the operator
// wants them to know (ssh_service.pam.environment), with the user's traits in it.

export interface LogIn {
  readonly user: string;
  readonly login: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
}

export interface PamEnvironment {
  readonly variables: Readonly<Record<string, string>>;
  /** Configured, but of a trait this user does not have: left out. */
  readonly missing: readonly string[];
}

const traitTemplate = /\{\{\s*(?:external|internal)\.([A-Za-z0-9_-]+)\s*\}\}/g;

/** A trait of several values is joined by commas. */
export function pamEnvironment(configured: Readonly<Record<string, string>>, logIn: LogIn): PamEnvironment {
  const variables: Record<string, string> = {
    TELEPORT_USERNAME: logIn.user,
    TELEPORT_LOGIN: logIn.login,
    TELEPORT_ROLES: logIn.roles.join(' '),
  };
  const missing: string[] = [];
  for (const [name, template] of Object.entries(configured)) {
    const value = filled(template, logIn.traits);
    if (value === undefined) missing.push(name);
    else variables[name] = value;
  }
  return { variables, missing };
}

function filled(template: string, traits: LogIn['traits']): string | undefined {
  let whole = true;
  const text = template.replace(traitTemplate, (_, trait: string) => {
    const values = Object.hasOwn(traits, trait) ? traits[trait] : undefined;
    whole &&= values !== undefined && values.length > 0;
    return values?.join(',') ?? '';
  });
  return whole ? text : undefined;
}
