// A customer's backend with the official Java SDK, unmodified. Reads one JSON object on standard input,
// {apiUrl, secret, calls: [[method, argument], ...]}, and prints what each call gave: {value} or {refusal}.
// What is printed are the SDK's own objects, by their getters.

import com.bitwarden.passwordless.PasswordlessClient;
import com.bitwarden.passwordless.PasswordlessClientBuilder;
import com.bitwarden.passwordless.PasswordlessOptions;
import com.bitwarden.passwordless.error.PasswordlessApiException;
import com.bitwarden.passwordless.model.DeleteCredential;
import com.bitwarden.passwordless.model.DeleteUser;
import com.bitwarden.passwordless.model.RegisterToken;
import com.bitwarden.passwordless.model.SetAlias;
import com.bitwarden.passwordless.model.UpdateAppsFeature;
import com.bitwarden.passwordless.model.VerifySignIn;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.util.ArrayList;
import java.util.List;

public class Backend {
  public static void main(String[] arguments) throws Exception {
    ObjectMapper json = new ObjectMapper().findAndRegisterModules();
    json.disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS);
    JsonNode asked = json.readTree(System.in);
    PasswordlessOptions options =
        PasswordlessOptions.builder()
            .apiUrl(asked.get("apiUrl").asText())
            .apiSecret(asked.get("secret").asText())
            .build();
    ArrayNode results = json.createArrayNode();
    try (PasswordlessClient client = PasswordlessClientBuilder.create(options).build()) {
      for (JsonNode call : asked.get("calls")) {
        try {
          Object value = run(client, call.get(0).asText(), call.path(1));
          results.addObject().set("value", json.valueToTree(value));
        } catch (PasswordlessApiException refusal) {
          results.addObject().set("refusal", json.valueToTree(refusal.getProblemDetails()));
        }
      }
    }
    System.out.println(json.writeValueAsString(results));
  }

  private static Object run(PasswordlessClient client, String method, JsonNode given) throws Exception {
    switch (method) {
      case "registerToken":
        return client.registerToken(registration(given));
      case "signIn":
        return client.signIn(VerifySignIn.builder().token(given.asText()).build());
      case "setAlias":
        client.setAlias(aliases(given));
        return null;
      case "getAliases":
        return client.getAliases(given.asText());
      case "getCredentials":
        return client.getCredentials(given.asText());
      case "deleteCredential":
        client.deleteCredential(DeleteCredential.builder().credentialId(given.asText()).build());
        return null;
      case "getUsers":
        return client.getUsers();
      case "deleteUser":
        client.deleteUser(DeleteUser.builder().userId(given.asText()).build());
        return null;
      case "updateAppsFeature":
        client.updateAppsFeature(
            UpdateAppsFeature.builder().auditLoggingRetentionPeriod(given.asInt()).build());
        return null;
      default:
        throw new IllegalArgumentException(method);
    }
  }

  private static RegisterToken registration(JsonNode given) {
    RegisterToken.RegisterTokenBuilder options =
        RegisterToken.builder().userId(given.get("userId").asText()).username("ann");
    if (given.has("aliases")) {
      options.aliases(texts(given.get("aliases"))).aliasHashing(false);
    }
    return options.build();
  }

  private static SetAlias aliases(JsonNode given) {
    SetAlias.SetAliasBuilder aliases = SetAlias.builder();
    aliases.userId(given.get("userId").asText()).aliases(texts(given.get("aliases")));
    if (given.has("hashing")) {
      aliases.hashing(given.get("hashing").asBoolean());
    }
    return aliases.build();
  }

  private static List<String> texts(JsonNode array) {
    List<String> texts = new ArrayList<>();
    array.forEach(text -> texts.add(text.asText()));
    return texts;
  }
}
