export function StatusPage() {
  return <div class="status" />;
}
